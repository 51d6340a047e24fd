"""Usage as it is asked for: grouped sums of the ledger."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

from services.history.mongo.filters import Document
from services.history.usage.billing import Billing
from services.history.usage.entries import summed
from services.history.usage.ledger import Ledger
from shared.contracts.prices import PriceTable
from shared.contracts.usage import Grouping, UsagePage, UsageQuery, UsageRow, cost_shown

_MEMBERS: Final[dict[Grouping, str]] = {"agent": "agentId", "key": "keyId", "model": "model", "day": "day"}


class UsageReports:
    """Turns that have ended are added to the ledger first, for as long as the caller waits. What is left is told."""

    def __init__(self, ledger: Ledger, billing: Billing, prices: PriceTable) -> None:
        self._ledger = ledger
        self._billing = billing
        self._prices = prices

    async def grouped(self, workspace: str, query: UsageQuery) -> UsagePage:
        """In the order of the groups' names; turns without one come first."""
        first, last = query.first.isoformat(), query.last.isoformat()
        rows, pending = await self._billing.read(
            workspace, lambda: self._ledger.rows(workspace, first, last, query.end_user)
        )
        groups: dict[str | None, list[Document]] = defaultdict(list)
        for row in rows:
            if query.agent_id in (None, row["agentId"]) and query.key_id in (None, row["keyId"]):
                groups[row[_MEMBERS[query.group_by]]].append(row)
        names = sorted(groups, key=lambda name: name or "")
        return UsagePage(
            rows=tuple(self._row(name, summed(groups[name])) for name in names),
            pending=pending,
        )

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
