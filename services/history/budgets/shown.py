"""Budgets as they are shown: their limits, and what is used of them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from services.history.budgets.limits import PERIODS
from services.history.budgets.sums import end_user_of, sums_of
from services.history.mongo.filters import Document
from services.history.usage.billing import Billing
from services.history.usage.ledger import Ledger
from shared.budgets.periods import Period
from shared.contracts.budgets import Budget, PeriodUse, Subject
from shared.contracts.prices import PriceTable
from shared.contracts.usage import NANO, UsagePending, cost_shown

# Documents of the ledger for one month; by end user, and under None the workspace's.
_Rows = Mapping[str | None, Sequence[Document]]


class ShownBudgets:
    def __init__(self, ledger: Ledger, billing: Billing, prices: PriceTable) -> None:
        self._ledger = ledger
        self._billing = billing
        self._currency = prices.currency

    async def of(self, workspace: str, budgets: Sequence[Document]) -> list[Budget]:
        """The ledger is brought up to date once for all of them, and is read once for all but end users."""
        now, end_users = datetime.now(UTC), {end_user_of(_subject(budget)) for budget in budgets}
        first, last = Period.of("month", now).days

        async def read() -> _Rows:
            return {each: await self._ledger.rows(workspace, first, last, each) for each in end_users}

        rows, pending = await self._billing.read(workspace, read)
        return [self._shown(budget, rows, pending, now) for budget in budgets]

    def _shown(self, budget: Document, rows: _Rows, pending: UsagePending | None, now: datetime) -> Budget:
        subject = _subject(budget)
        mine = rows[end_user_of(subject)]
        uses = {kind: _use(budget[kind], mine, subject, Period.of(kind, now)) for kind in PERIODS if budget.get(kind)}
        return Budget(
            subject=subject.text, **uses, currency=self._currency, pending=pending, updated_at=budget["updatedAt"]
        )


def _subject(budget: Document) -> Subject:
    return Subject(budget["kind"], budget["subjectId"])


def _use(limits: Document, rows: Sequence[Document], subject: Subject, period: Period) -> PeriodUse:
    sums, unpriced = sums_of(rows, subject, period)
    tokens, cost = limits.get("tokens"), limits.get("cost")
    return PeriodUse(
        tokens=tokens,
        cost=None if cost is None else cost / NANO,
        used_tokens=sums.tokens,
        used_cost=cost_shown(sums.cost),
        unpriced_tokens=unpriced,
        exceeded=(tokens is not None and sums.tokens >= tokens) or (cost is not None and sums.cost >= cost),
        resets_at=period.end,
    )
