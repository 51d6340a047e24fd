"""That a budget is used up is told once per period, by an event on the budget's document."""

from typing import Any, Final

from cachetools import TTLCache

from services.history.mongo.client import Database
from services.history.mongo.filters import Document, none_of
from services.history.webhooks.subscriptions import Subscriptions
from shared.budgets.store import Limit
from shared.contracts.schema import rfc3339

# What this process has told already. Forgetting it costs an update that matches nothing.
MAX_TOLD: Final = 10_000
TOLD_S: Final = 3_600.0


class ExceededBudgets:
    def __init__(self, database: Database, subscriptions: Subscriptions) -> None:
        self._budgets = database.budgets
        self._subscriptions = subscriptions
        self._told: TTLCache[str, bool] = TTLCache(MAX_TOLD, TOLD_S)

    async def tell(self, counter_key: str, limits: list[Limit]) -> None:
        """`counter_key`: of the limit that refused a turn. A limit of the key's own record has no document."""
        if counter_key in self._told:
            return
        limit = next((each for each in limits if each.counter.key == counter_key), None)
        if limit is None or limit.counter.source != "budget":
            return
        workspace, subject, _, period = limit.counter
        told = f"told{period.kind.capitalize()}"
        where: dict[str, Any] = {
            "workspace": workspace,
            "kind": subject.kind,
            "subjectId": subject.id,
            "removed": False,
            told: none_of([period.name]),
        }
        details = {"period": period.name, "resetsAt": rfc3339(period.end)}
        change: Document = {"$set": {told: period.name}}
        await self._budgets.update(where, self._subscriptions.pushed(change, workspace, "budget.exceeded", **details))
        self._told[counter_key] = True
