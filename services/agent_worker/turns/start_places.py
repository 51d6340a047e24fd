"""Places for turns that claim and start: so many of a worker at once. Turns that run do not need one.

A worker takes as many jobs as it may run at once, for example all of a killed worker. If all asked history together,
each would wait longer than the client of history does, all would ask again, and none would ever start: on a host that
was 25 times too busy, no claim of 1,000 was answered in time. So each answer that is late halves the places, and each
that is in time adds one.
"""

import asyncio
from collections import deque
from types import TracebackType
from typing import Final, Self

# More than a history does at once, whose calls take some milliseconds each.
MOST: Final = 32
# One that waits for its answer must not be the only one.
FEWEST: Final = 2


class StartPlaces:
    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._limit = most
        self._held = 0
        self._halvings = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def limit(self) -> int:
        return self._limit

    def place(self) -> "StartPlace":
        return StartPlace(self)

    async def take(self) -> int:
        """How often the places had been halved by then. Return the place with `give_back`."""
        if self._held < self._limit and not self._waiting:
            self._held += 1
            return self._halvings
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back()
            elif turn in self._waiting:
                # Not there: a place became free between the cancellation and this line, and was given to the next.
                self._waiting.remove(turn)
            raise
        return self._halvings

    def give_back(self) -> None:
        self._held -= 1
        self._wake()

    def late(self, halvings: int) -> None:
        """Those that asked together are late together: they halve the places once."""
        if halvings == self._halvings:
            self._halvings += 1
            self._limit = max(FEWEST, self._limit // 2)

    def in_time(self) -> None:
        self._limit = min(self._most, self._limit + 1)
        self._wake()

    def _wake(self) -> None:
        while self._waiting and self._held < self._limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self._held += 1
                turn.set_result(None)


class StartPlace:
    """Hold it with `async with`. `started` returns it before the block ends."""

    def __init__(self, places: StartPlaces) -> None:
        self._places = places
        self._is_held = False
        self._halvings = 0

    async def __aenter__(self) -> Self:
        self._halvings = await self._places.take()
        self._is_held = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_held:
            self._is_held = False
            self._places.give_back()

    def late(self) -> None:
        """History did not answer."""
        self._places.late(self._halvings)

    def started(self) -> None:
        self._is_held = False
        self._places.give_back()
        self._places.in_time()
