"""Starts child processes, checks when they are ready, restarts those that end, and stops them in order."""

import asyncio
import signal
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from deploy.local.processes import spawn

FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 5.0
STABLE_S: Final = 10.0
READY_TIMEOUT_S: Final = 60.0
LOG_TAIL_LINES: Final = 12


class StartError(Exception):
    """A process did not come up; the text is for the person at the terminal."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """One process.

    `probe` says whether it is ready; `grace_s` is how long it may take to end after SIGTERM; `hint` is for its
    failure.
    """

    name: str
    arguments: Sequence[str]
    log: Path
    pid_file: Path
    probe: Callable[[], Awaitable[bool]]
    env: Mapping[str, str] | None = None
    cwd: Path | None = None
    grace_s: float = 10.0
    hint: str = ""


def next_pause(pause_s: float, ran_s: float) -> float:
    """The pause before a restart: doubled each time, from the beginning again after a stable run."""
    return FIRST_PAUSE_S if ran_s >= STABLE_S else min(pause_s * 2, LONGEST_PAUSE_S)


class Child:
    """A command that is kept running until `stop`. `notify(event, child)` is told of `started`, `ended` and `ready`."""

    def __init__(self, command: Command, notify: Callable[[str, "Child"], None]) -> None:
        self.command = command
        self._notify = notify
        self._process: subprocess.Popen[bytes] | None = None
        self._exited: asyncio.Future[int] | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        return self.command.name

    @property
    def pid(self) -> int:
        """Of the process that runs, or ran last."""
        return self._process.pid if self._process is not None else 0

    @property
    def exit_code(self) -> int | None:
        return self._process.returncode if self._process is not None else None

    async def start(self) -> None:
        """The first start: waits until it is ready. Raises StartError when it ends instead, or takes too long."""
        exited = self._launch()
        self._keeper = asyncio.create_task(self._keep(), name=f"keep {self.name}")
        if not await self._wait_ready(exited):
            code = f"ended with {exited.result()}" if exited.done() else f"was not ready within {READY_TIMEOUT_S:.0f} s"
            raise StartError(
                f"{self.name} {code}. {self.command.hint}\nThe end of {self.command.log}:\n{_tail(self.command.log)}"
            )

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL after the grace period. Nothing is restarted any more."""
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
        if self._exited is None or self._process is None:
            return
        self.signal(signal.SIGTERM)
        await asyncio.wait([self._exited], timeout=self.command.grace_s)
        self.signal(signal.SIGKILL)
        await self._exited
        self.command.pid_file.unlink(missing_ok=True)

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def _launch(self) -> "asyncio.Future[int]":
        command = self.command
        self._process = spawn(
            command.arguments, log=command.log, pid_file=command.pid_file, env=command.env, cwd=command.cwd
        )
        self._exited = _exit_of(self._process)
        self._notify("started", self)
        return self._exited

    async def _keep(self) -> None:
        pause_s = FIRST_PAUSE_S / 2
        while self._exited is not None:
            began = time.monotonic()
            await asyncio.shield(self._exited)
            pause_s = next_pause(pause_s, time.monotonic() - began)
            self._notify("ended", self)
            await asyncio.sleep(pause_s)
            try:
                exited = self._launch()
            except OSError:  # No memory or descriptors now; the next round tries again.
                continue
            while not exited.done():
                # A busy host may need longer than the first start is given.
                if await self._wait_ready(exited):
                    self._notify("ready", self)
                    break

    async def _wait_ready(self, exited: "asyncio.Future[int]") -> bool:
        """False when the process ended, or the time is over."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not exited.done() and time.monotonic() < deadline:
            if await self.command.probe():
                return not exited.done()
            await asyncio.wait([exited], timeout=0.05)
        return False


@dataclass
class Supervisor:
    """All children of one launcher, by group."""

    notify: Callable[[str, Child], None]
    groups: Mapping[str, list[Child]] = field(default_factory=dict)

    def add(self, group: str, command: Command) -> Child:
        child = Child(command, self.notify)
        self.groups[group].append(child)
        return child

    def pids(self, group: str) -> list[int]:
        return [child.pid for child in self.groups[group]]

    async def stop(self, *together: Sequence[str]) -> None:
        """One set of groups after the other; without any, group by group."""
        for names in together or [(name,) for name in self.groups]:
            children = [child for name in names for child in self.groups[name]]
            await asyncio.gather(*(child.stop() for child in children))

    def kill(self) -> None:
        """For someone who will not wait: whatever still runs ends now."""
        for children in self.groups.values():
            for child in children:
                child.signal(signal.SIGKILL)


def _exit_of(process: subprocess.Popen[bytes]) -> "asyncio.Future[int]":
    """Resolves with the exit code. A thread of its own waits: the pool's few threads would all be taken by waiting."""
    loop = asyncio.get_running_loop()
    exited: asyncio.Future[int] = loop.create_future()

    def acknowledge(code: int) -> None:
        if not exited.done():
            exited.set_result(code)

    def wait() -> None:
        code = process.wait()
        with suppress(RuntimeError):  # The loop may be closed by now.
            loop.call_soon_threadsafe(acknowledge, code)

    threading.Thread(target=wait, name=f"wait for {process.pid}", daemon=True).start()
    return exited


def _tail(log: Path) -> str:
    try:
        return "\n".join(f"  {line}" for line in log.read_text("utf-8", "replace").splitlines()[-LOG_TAIL_LINES:])
    except OSError:
        return "  (nothing)"
