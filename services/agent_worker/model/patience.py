"""A timeout that moves with every read."""

import asyncio
from types import TracebackType
from typing import Final, Self

LOOK_S: Final = 5.0


class Patience:
    """Raises TimeoutError from its block when the time that `until` was last given has come (the loop's time).

    Moving it costs an assignment: only when its timer fires does it look whether it is due.
    """

    def __init__(self, due: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit = asyncio.timeout(None)
        self._due = due
        self._arm(due)

    def now(self) -> float:
        return self._loop.time()

    def until(self, due: float) -> None:
        self._due = due
        if due < self._fires_at:
            self._timer.cancel()
            self._arm(due)

    def _arm(self, at: float) -> None:
        # Noted here, because uvloop gives a handle that does not know its time when that has come already.
        self._fires_at = at
        self._timer = self._loop.call_at(at, self._look)

    def _look(self) -> None:
        now = self._loop.time()
        if now >= self._due:
            self._limit.reschedule(now)
        else:
            self._arm(min(self._due, now + LOOK_S))

    async def __aenter__(self) -> Self:
        await self._limit.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._limit.__aexit__(kind, error, trace)
