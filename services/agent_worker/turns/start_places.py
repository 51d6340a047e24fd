"""Places for turns that claim and start: so many of a worker at once. Turns that run do not need one.

A worker takes as many jobs as it may run at once, for example all of a killed worker. If all asked history together,
each would wait longer than the client of history does, all would ask again, and none would ever start: 1,000 turns at a
history that starts 100 a second.
"""

import asyncio
from types import TracebackType
from typing import Final, Self

# More than a history does at once, whose calls take some milliseconds each.
PLACES: Final = 32


class StartPlace:
    """Hold it with `async with`. `leave` returns it before the block ends, and may be repeated."""

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places = places
        self._is_held = False

    async def __aenter__(self) -> Self:
        await self._places.acquire()
        self._is_held = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    def leave(self) -> None:
        if self._is_held:
            self._is_held = False
            self._places.release()
