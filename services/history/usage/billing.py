"""Brings the ledger up to date for a caller who waits, within a time, and says what the sums then lack."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from services.history.usage.ledger import Ledger
from shared.contracts.errors import ApiError, Code
from shared.contracts.usage import UsagePending

T = TypeVar("T")
U = TypeVar("U")
# For one page of 200 turns with room for the reads that follow: the gateway waits 5 s for an answer of history.
WITHIN_S: Final = 1.5
# The embedded database reads a whole backlog to count it, and everybody waits meanwhile.
COUNTED_WITHIN_S: Final = 1.0
# Of all that has to be read, from the call on. With the counting and the last reading it is less than those 5 s: a
# database that has too much to do is told by history in time, not by a gateway that has given history up.
READ_WITHIN_S: Final = 3.0
READ_AGAIN_WITHIN_S: Final = 0.7
UNKNOWN: Final = UsagePending()


class Billing:
    def __init__(
        self,
        ledger: Ledger,
        within_s: float = WITHIN_S,
        counted_within_s: float = COUNTED_WITHIN_S,
        read_within_s: float = READ_WITHIN_S,
    ) -> None:
        self._ledger = ledger
        self._within_s = within_s
        self._counted_within_s = counted_within_s
        self._read_within_s = read_within_s

    async def read(self, workspace: str, sums: Callable[[], Awaitable[T]]) -> tuple[T, UsagePending | None]:
        """What `sums` reads of the ledger, and what it lacks. None: it has every turn that had ended before the call.

        A backlog, however large, costs a bounded time. Raises ApiError(`dependency_unavailable`) while MongoDB is away,
        or if it cannot read the ledger within a time.
        """
        until = asyncio.get_running_loop().time() + self._read_within_s
        is_complete = await _in_time(self._ledger.bill(workspace), self._within_s, False)
        early = await _until(until, sums())
        if is_complete:
            return early, None
        pending = await _in_time(self._pending(workspace), self._counted_within_s, UNKNOWN)
        if pending is UNKNOWN:
            return early, UNKNOWN
        # Read again: what was added since is not counted as lacking.
        return await _in_time(_with(sums(), pending), READ_AGAIN_WITHIN_S, (early, UNKNOWN))

    async def _pending(self, workspace: str) -> UsagePending | None:
        backlog = await self._ledger.backlog(workspace)
        return UsagePending(turns=backlog.turns, exact_before=backlog.exact_before) if backlog else None


async def _in_time(work: Awaitable[T], within_s: float, otherwise: U) -> T | U:
    """`otherwise`: it took longer, and was cancelled."""
    limit = asyncio.timeout(within_s)
    try:
        async with limit:
            return await work
    except TimeoutError:
        if not limit.expired():
            raise
        return otherwise


async def _with(work: Awaitable[T], pending: UsagePending | None) -> tuple[T, UsagePending | None]:
    return await work, pending


async def _until(time_s: float, work: Awaitable[T]) -> T:
    """Raises `dependency_unavailable` at that time of the loop's clock."""
    found = await _in_time(work, time_s - asyncio.get_running_loop().time(), None)
    if found is None:
        message = "The database is too busy to read the sums of usage. Ask again, or for fewer days."
        raise ApiError(Code.DEPENDENCY_UNAVAILABLE, message)
    return found
