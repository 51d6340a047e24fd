"""`parley` in a pseudo-terminal, driven like a person does it."""

import asyncio
import codecs
import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.conftest import PATIENCE
from tests.system.cli.screen import Screen
from tests.system.stack import ROOT

PARLEY: Final = ROOT / "deploy" / "cli" / "parley"
COLUMNS: Final = 100
ROWS: Final = 40
WITHIN_S: Final = 20.0


def environment(home: Path, **variables: str) -> dict[str, str]:
    """A new user's: no settings, a home of their own."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PARLEY_")}
    return {**own, "HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config"), "TERM": "xterm-256color", **variables}


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    # A shell starts what it runs in the background with Ctrl-C ignored, and all children inherit that.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """One running command. Leaving it hangs up, as closing the window does."""

    def __init__(self, *arguments: str, cwd: Path, env: Mapping[str, str], rows: int = ROWS) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, COLUMNS, 0, 0))
        # In a session of its own with this terminal as the controlling one, so that Ctrl-C is a signal.
        self.process = subprocess.Popen(
            [str(PARLEY), *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=cwd,
            env=dict(env),
            start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509 two system calls, no lock
        )
        os.close(slave)
        self.screen = Screen(COLUMNS, rows)
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._changed = asyncio.Event()
        self._closed = False

    async def __aenter__(self) -> Self:
        os.set_blocking(self._master, False)
        asyncio.get_running_loop().add_reader(self._master, self._read)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._closed:
            asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def _read(self) -> None:
        try:
            chunk = os.read(self._master, 65536)
        except OSError:  # the other side is gone
            chunk = b""
        if not chunk and not self._closed:
            self._closed = True
            asyncio.get_running_loop().remove_reader(self._master)
        self.screen.feed(self._decoder.decode(chunk))
        self._changed.set()

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    async def shows(self, text: str) -> None:
        await self._until(lambda: text in self.screen.text, text)

    async def ends_with(self, text: str, within_s: float = WITHIN_S) -> None:
        """Until the last thing on the screen is this line."""
        await self._until(
            lambda: self.screen.text.rstrip("\n").rpartition("\n")[2].strip() == text.strip(), text, within_s
        )

    async def _until(self, holds: Callable[[], bool], text: str, within_s: float = WITHIN_S) -> None:
        try:
            async with asyncio.timeout(within_s * PATIENCE):
                while not holds():
                    assert not self._closed, f"it ended without {text!r}:\n{self.screen.text}"
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"{text!r} was not shown:\n{self.screen.text}") from None

    async def ends(self) -> int:
        """The exit code, once everything that it wrote is on the screen."""
        async with asyncio.timeout(WITHIN_S * PATIENCE):
            while not self._closed:
                self._changed.clear()
                await self._changed.wait()
        return await asyncio.to_thread(self.process.wait)
