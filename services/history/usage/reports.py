"""Usage as it is asked for: grouped sums of the ledger."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

from services.history.mongo.filters import Document
from services.history.usage.entries import summed
from services.history.usage.ledger import Ledger
from shared.contracts.prices import PriceTable
from shared.contracts.usage import Grouping, UsagePage, UsagePending, UsageQuery, UsageRow, cost_shown

# For one page of 200 turns with room for the reads that follow: the gateway waits 5 s for an answer of history.
WITHIN_S: Final = 1.5
_MEMBERS: Final[dict[Grouping, str]] = {"agent": "agentId", "key": "keyId", "model": "model", "day": "day"}


class UsageReports:
    """Turns that have ended are added to the ledger first, for as long as the caller waits. What is left is told."""

    def __init__(self, ledger: Ledger, prices: PriceTable, within_s: float = WITHIN_S) -> None:
        self._ledger = ledger
        self._prices = prices
        self._within_s = within_s

    async def grouped(self, workspace: str, query: UsageQuery) -> UsagePage:
        """In the order of the groups' names; turns without one come first."""
        backlog = None if await self._is_billed(workspace) else await self._ledger.backlog(workspace)
        first, last = query.first.isoformat(), query.last.isoformat()
        rows = await self._ledger.rows(workspace, first, last, query.end_user)
        groups: dict[str | None, list[Document]] = defaultdict(list)
        for row in rows:
            if query.agent_id in (None, row["agentId"]) and query.key_id in (None, row["keyId"]):
                groups[row[_MEMBERS[query.group_by]]].append(row)
        names = sorted(groups, key=lambda name: name or "")
        return UsagePage(
            rows=tuple(self._row(name, summed(groups[name])) for name in names),
            pending=UsagePending(turns=backlog.turns, exact_before=backlog.exact_before) if backlog else None,
        )

    async def _is_billed(self, workspace: str) -> bool:
        limit = asyncio.timeout(self._within_s)
        try:
            async with limit:
                return await self._ledger.bill(workspace)
        except TimeoutError:
            if not limit.expired():
                raise
            return False

    def _row(self, group: str | None, sums: Mapping[str, Any]) -> UsageRow:
        total = sums["promptTokens"] + sums["completionTokens"]
        is_unknown = total > 0 and sums["unpricedTokens"] == total
        return UsageRow(
            group=group,
            turns=sums["turns"],
            prompt_tokens=sums["promptTokens"],
            completion_tokens=sums["completionTokens"],
            total_tokens=total,
            cached_tokens=sums["cachedTokens"],
            reasoning_tokens=sums["reasoningTokens"],
            estimated_tokens=sums["estimatedTokens"],
            cost=None if is_unknown else cost_shown(sums["cost"]),
            unpriced_tokens=sums["unpricedTokens"],
            currency=self._prices.currency,
        )
