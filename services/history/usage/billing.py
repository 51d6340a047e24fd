"""Brings the ledger up to date for a caller who waits, within a time, and says what the sums then lack."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from services.history.usage.ledger import Ledger
from shared.contracts.usage import UsagePending

T = TypeVar("T")
# For one page of 200 turns with room for the reads that follow: the gateway waits 5 s for an answer of history.
WITHIN_S: Final = 1.5
# The embedded database reads a whole backlog to count it, and everybody waits meanwhile.
COUNTED_WITHIN_S: Final = 1.0
UNKNOWN: Final = UsagePending()


class Billing:
    def __init__(self, ledger: Ledger, within_s: float = WITHIN_S, counted_within_s: float = COUNTED_WITHIN_S) -> None:
        self._ledger = ledger
        self._within_s = within_s
        self._counted_within_s = counted_within_s

    async def read(self, workspace: str, sums: Callable[[], Awaitable[T]]) -> tuple[T, UsagePending | None]:
        """What `sums` reads of the ledger, and what it lacks. None: it has every turn that had ended before the call.

        A backlog, however large, costs a bounded time. Raises ApiError while MongoDB is away.
        """
        if await _in_time(self._ledger.bill(workspace), self._within_s, False):
            return await sums(), None
        early = await sums()
        pending = await _in_time(self._pending(workspace), self._counted_within_s, UNKNOWN)
        # Read again: what was added since is not counted as lacking.
        return (early, UNKNOWN) if pending is UNKNOWN else (await sums(), pending)

    async def _pending(self, workspace: str) -> UsagePending | None:
        backlog = await self._ledger.backlog(workspace)
        return UsagePending(turns=backlog.turns, exact_before=backlog.exact_before) if backlog else None


async def _in_time(work: Awaitable[T], within_s: float, otherwise: T) -> T:
    """`otherwise`: it took longer, and was cancelled."""
    limit = asyncio.timeout(within_s)
    try:
        async with limit:
            return await work
    except TimeoutError:
        if not limit.expired():
            raise
        return otherwise
