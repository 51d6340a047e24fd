"""Lines that a person types, or that a file brings, read without stopping what goes on beside."""

import asyncio
import os
import sys
import termios
from collections import deque
from typing import Any, Final

MAX_LINE: Final = 1 << 20


class TypedLines:
    """`next()` waits for a line; None at the end of the input. On a terminal, lines arrive also while nobody waits."""

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = sys.stdin.fileno() if descriptor is None else descriptor
        self.is_terminal = os.isatty(self._descriptor)
        self._lines: deque[str | None] = deque()
        self._arrived = asyncio.Event()
        self._buffer = b""
        self._before: list[Any] = []

    def __enter__(self) -> "TypedLines":
        if self.is_terminal:
            asyncio.get_running_loop().add_reader(self._descriptor, self._read)
            self._before = termios.tcgetattr(self._descriptor)
            quiet = termios.tcgetattr(self._descriptor)
            # `^C` inside an answer would stay there.
            quiet[3] &= ~termios.ECHOCTL
            termios.tcsetattr(self._descriptor, termios.TCSANOW, quiet)
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_terminal:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            termios.tcsetattr(self._descriptor, termios.TCSANOW, self._before)

    async def next(self) -> str | None:
        while not self._lines:
            if self.is_terminal:
                self._arrived.clear()
                await self._arrived.wait()
            else:
                await asyncio.to_thread(self._read)
        # The end of the input stays the end.
        return self._lines[0] if self._lines[0] is None else self._lines.popleft()

    def put_back(self, lines: list[str]) -> None:
        self._lines.extendleft(reversed(lines))

    def _read(self) -> None:
        """A terminal hands over whole lines; a file or a pipe any bytes."""
        chunk = os.read(self._descriptor, 65536)
        *lines, self._buffer = (self._buffer + chunk).split(b"\n")
        if (not chunk or len(self._buffer) > MAX_LINE) and self._buffer:
            lines, self._buffer = [*lines, self._buffer], b""
        self._lines.extend(line.decode(errors="replace").rstrip("\r") for line in lines)
        if not chunk:
            self._lines.append(None)
        self._arrived.set()
