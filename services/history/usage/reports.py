"""Usage as it is asked for: grouped sums of the ledger."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

from services.history.mongo.filters import Document
from services.history.usage.entries import summed
from services.history.usage.ledger import Ledger
from shared.contracts.prices import PriceTable
from shared.contracts.usage import Grouping, UsageQuery, UsageRow, cost_shown

_MEMBERS: Final[dict[Grouping, str]] = {"agent": "agentId", "key": "keyId", "model": "model", "day": "day"}


class UsageReports:
    """Exact for every turn that had ended when it was asked: such turns are added to the ledger first."""

    def __init__(self, ledger: Ledger, prices: PriceTable) -> None:
        self._ledger = ledger
        self._prices = prices

    async def grouped(self, workspace: str, query: UsageQuery) -> list[UsageRow]:
        """In the order of the groups' names; turns without one come first."""
        await self._ledger.bill(workspace)
        first, last = query.first.isoformat(), query.last.isoformat()
        rows = await self._ledger.rows(workspace, first, last, query.end_user)
        groups: dict[str | None, list[Document]] = defaultdict(list)
        for row in rows:
            if query.agent_id in (None, row["agentId"]) and query.key_id in (None, row["keyId"]):
                groups[row[_MEMBERS[query.group_by]]].append(row)
        return [self._row(name, summed(groups[name])) for name in sorted(groups, key=lambda name: name or "")]

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
