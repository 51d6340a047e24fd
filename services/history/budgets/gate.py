"""The gate: a turn's admission asks the counters, its claim reserves, and its end charges.

The counters are in Redis, because the claim reserves in its own script. They are never the truth: a counter that is
missing, or in doubt about one turn, is rebuilt from the ledger. Without Redis a turn of a workspace with budgets is not
admitted; it could not run either.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from redis.exceptions import RedisError

from services.history.budgets.estimates import ANSWER_TOKENS
from services.history.budgets.exceeded import ExceededBudgets
from services.history.budgets.limits import Limits, Parties
from services.history.budgets.sums import end_user_of, sums_of
from services.history.metrics import BUDGET_COUNTERS_REBUILT, BUDGET_REFUSALS
from services.history.mongo.client import Database
from services.history.mongo.filters import Document, in_batches, one_of
from services.history.usage.ledger import Ledger
from services.history.webhooks.subscriptions import Subscriptions
from shared.budgets.counters import refusal_of
from shared.budgets.store import BudgetStore, Estimate, Limit, Mode
from shared.contracts.errors import ApiError
from shared.ids import id_at
from shared.log import get_logger
from shared.single_flight import SingleFlight

log = get_logger()

ROUNDS: Final = 4
# A younger turn may be noted before its document is stored.
YOUNG: Final = timedelta(seconds=15)


class Account(NamedTuple):
    """A turn, and on whose account it runs."""

    turn_id: str
    parties: Parties


class BudgetGate:
    def __init__(
        self, database: Database, store: BudgetStore, limits: Limits, ledger: Ledger, subscriptions: Subscriptions
    ) -> None:
        self._exceeded = ExceededBudgets(database, subscriptions)
        self._turns = database.turns
        self._store = store
        self._limits = limits
        self._ledger = ledger
        self._rebuilds: SingleFlight[str, None] = SingleFlight()

    async def admit(self, turn_id: str, parties: Parties, estimate: Estimate) -> ApiError | None:
        """Notes the turn for its claim. Returns `budget_exceeded` when one of its budgets is used up."""
        limits = await self._limits.of(parties, datetime.now(UTC))
        refused_by = await self._order(turn_id, estimate, limits, "ask") if limits else None
        if refused_by is None:
            return None
        BUDGET_REFUSALS.inc()
        await self._exceeded.tell(refused_by, limits)
        return refusal_of(refused_by)

    async def _order(self, turn_id: str, estimate: Estimate, limits: Sequence[Limit], mode: Mode) -> str | None:
        ordered = await self._store.order(turn_id, estimate, limits, mode)
        for _ in range(ROUNDS):
            if not ordered.unknown:
                break
            for limit in ordered.unknown:
                await self.rebuild(limit)
            ordered = await self._store.order(turn_id, estimate, limits, mode)
        # Turns end faster than the documents are read. The counters are right but for the last of these turns.
        return ordered.refused_by

    async def rebuild(self, limit: Limit) -> None:
        """Brings the counter to what the ledger says, unless a turn is charged meanwhile."""
        await self._rebuilds.run(limit.counter.key, lambda: self._rebuild(limit))

    async def _rebuild(self, limit: Limit) -> None:
        version, (workspace, subject, _, period) = await self._store.version(limit.counter), limit.counter
        # A counter that is filled with less than was used would let more through than the budget allows.
        await self._ledger.must_bill(workspace)
        first, last = period.days
        rows = await self._ledger.rows(workspace, first, last, end_user_of(subject), with_turns=True)
        sums, _ = sums_of(rows, subject, period)
        if await self._store.fill(limit, version, sums):
            BUDGET_COUNTERS_REBUILT.inc()

    async def ended(self, account: Account, ended_at: datetime, uses: Sequence[Document] | None) -> None:
        """After the turn's end is stored. `uses` None: it was stored earlier, so its use may be counted already.

        What an outage prevents here is repaired by `reconcile`.
        """
        try:
            limits = await self._limits.of(account.parties, ended_at)
            if limits:
                used = _used(uses) if uses is not None else None
                await self._store.charge(account.turn_id, used, [limit.counter for limit in limits])
        except (ApiError, RedisError, OSError) as error:
            log.warning("charge_delayed", turn_id=account.turn_id, error=type(error).__name__)

    # --- after a loss

    async def restore(self, waiting: Sequence[Account], running: Sequence[Account]) -> None:
        """Notes active turns again that a flush has removed. Those that run are reserved at once."""
        now = datetime.now(UTC)
        limited = {each: await self._limits.of(each.parties, now) for each in (*waiting, *running)}
        limited = {each: limits for each, limits in limited.items() if limits}
        noted = await self._store.noted([each.turn_id for each in limited])
        lost = {each: limits for each, limits in limited.items() if each.turn_id not in noted}
        if lost:
            await self._note_again(lost, set(running))

    async def _note_again(self, lost: Mapping[Account, Sequence[Limit]], running: Collection[Account]) -> None:
        """A turn may end meanwhile: its use is charged before it is noted, or it is released here."""
        ids = [each.turn_id for each in lost]
        active = await self._active(ids)
        for each, limits in lost.items():
            if each.turn_id in active:
                mode: Mode = "hold" if each in running else "note"
                await self._order(each.turn_id, Estimate(ANSWER_TOKENS, 0), limits, mode)
        still = await self._active(ids)
        for each, limits in lost.items():
            if each.turn_id in active - still:
                await self._store.charge(each.turn_id, None, [limit.counter for limit in limits])

    async def _active(self, turn_ids: Sequence[str]) -> set[str]:
        return {
            row["_id"]
            for ids in in_batches(turn_ids)
            for row in await self._turns.many({"_id": one_of(ids)}, fields={"active": 1})
            if row.get("active")
        }

    async def reconcile(self) -> None:
        """Ends the reservations of turns that are not active: their ends were stored, and not charged."""
        before, cursor = id_at("trn", int((datetime.now(UTC) - YOUNG).timestamp() * 1000)), -1
        while cursor != 0:
            cursor, noted = await self._store.page(max(cursor, 0))
            old = sorted(turn_id for turn_id in noted if turn_id < before)
            active = await self._active(old)
            for turn_id in old:
                if turn_id not in active:
                    await self._store.charge(turn_id, None, ())
                    log.info("reservation_released", turn_id=turn_id)


def _used(uses: Sequence[Document]) -> Estimate:
    tokens = sum(use["usage"]["promptTokens"] + use["usage"]["completionTokens"] for use in uses)
    return Estimate(tokens, sum(use.get("cost", 0) for use in uses))
