"""The reconciler: finds active turns that were lost between the stores, and repairs them.

Every history process runs it. That is safe, because all its writes are conditional.
"""

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self

from redis.exceptions import RedisError

from services.history.budgets.gate import Account, BudgetGate
from services.history.metrics import TURNS_RECONCILED
from services.history.mongo.client import Database
from services.history.mongo.filters import Document, above
from services.history.mongo.migrations import is_newer
from services.history.reconcile.faults import is_outage
from services.history.reconcile.housekeeping import Housekeeping
from services.history.reconcile.outbox import Outbox
from services.history.reconcile.slipped_turns import Closed, SlippedTurns
from services.history.settings import HistorySettings
from services.history.turns.accounts import account_of
from services.history.turns.finalize import TurnFinalizer
from services.history.turns.record import WITHOUT_TEXT, TurnRecord
from services.history.turns.retry_guard import RetryGuard
from services.history.turns.verdicts import NEVER_STARTED, OUT_OF_TRIES, TOO_LATE, UNREADABLE, Verdict
from shared.backoff import jittered
from shared.contracts.errors import ApiError
from shared.log import get_logger
from shared.tasks import BackgroundLoops
from shared.turn_queue.queue import TurnQueue

log = get_logger()

PAGE: Final = 500
# A younger turn may still be on its way from its admission to the queue.
YOUNG_S: Final = 1.0
# A worker ends an overdue turn itself, and has more of its answer.
DEADLINE_GRACE_S: Final = 5.0
# A round takes long where there is much to erase, so only several missed rounds make the process unready.
STALE_ROUNDS: Final = 4
STALE_S: Final = 15.0


class Reconciler:
    """Runs at jittered intervals while it is open.

    It ends no turn while the queue's Redis is away, nor shortly after an outage.
    """

    def __init__(
        self,
        database: Database,
        queue: TurnQueue,
        outbox: Outbox,
        finalizer: TurnFinalizer,
        slipped: SlippedTurns,
        housekeeping: Housekeeping,
        gate: BudgetGate,
        settings: HistorySettings,
    ) -> None:
        self._turns = database.turns
        self._retry_guard = RetryGuard(database)
        self._queue = queue
        self._outbox = outbox
        self._finalizer = finalizer
        self._housekeeping = housekeeping
        self._slipped = slipped
        self._gate = gate
        self._settings = settings
        self.loops = BackgroundLoops()
        self._calm_from = 0.0
        # Since when a turn has had no holder. A flush removes leases for a moment, so a single look proves nothing.
        self._unheld: dict[str, float] = {}

    async def __aenter__(self) -> Self:
        stale_after_s = STALE_ROUNDS * (self._settings.reconcile_interval_s + STALE_S)
        self.loops.start("reconciler", self._reconcile_forever(), stale_after_s=stale_after_s)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.loops.finish()

    async def _reconcile_forever(self) -> None:
        while not self.loops.stopping.is_set():
            try:
                await self.round()
                self.loops.succeeded("reconciler")
            except (RedisError, OSError) as error:
                self._calm_from = time.monotonic() + self._patience_s
                log.warning("reconcile_postponed", error=type(error).__name__)
            except ApiError as error:
                log.warning("reconcile_postponed", error=str(error.code))
            except Exception:
                log.exception("reconcile_failed")
            with suppress(TimeoutError):
                async with asyncio.timeout(jittered(self._settings.reconcile_interval_s)):
                    await self.loops.stopping.wait()

    @property
    def _patience_s(self) -> float:
        """How long a worker may need to restore its lease after an outage."""
        return self._settings.lease_s + 1.0

    async def round(self) -> None:
        """One pass over everything. Raises ApiError, RedisError or OSError."""
        finished = await self._outbox.drain()
        seen: set[str] = set()
        after = ""
        while not self.loops.stopping.is_set():
            where = {"active": True, "_id": above(after)}
            rows = await self._turns.many(where, fields=WITHOUT_TEXT, order=[("_id", 1)], limit=PAGE)
            await self._check(await self._readable(rows), finished)
            seen.update(row["_id"] for row in rows)
            if len(rows) < PAGE:
                break
            after = rows[-1]["_id"]
        self._unheld = {turn_id: since for turn_id, since in self._unheld.items() if turn_id in seen}
        await self._housekeeping.round(self.loops.stopping.is_set)

    async def _readable(self, rows: list[Document]) -> list[TurnRecord]:
        """A turn whose document cannot be read ends as failed: nobody can run it, and its session would stay busy."""
        records: list[TurnRecord] = []
        for row in rows:
            try:
                records.append(TurnRecord.model_validate(row))
            except ValueError:
                # A newer release may have written it, and can read it.
                if not is_newer("turns", row):
                    log.exception("turn_unreadable", turn_id=row["_id"])
                    await self._finalizer.end_unreadable(row, UNREADABLE)
                    TURNS_RECONCILED.labels("failed").inc()
        return records

    async def _check(self, records: list[TurnRecord], finished: set[str] | None) -> None:
        now = datetime.now(UTC)
        old = [record for record in records if (now - record.created_at).total_seconds() > YOUNG_S]
        missing = set(await self._queue.missing([record.id for record in old]))
        if finished is None:
            return
        await self._gate.restore(*_accounts(old))
        unfinished = [record for record in old if record.id not in finished]
        slipped = await self._slipped.among(unfinished)
        for record in unfinished:
            try:
                await self._repair(record, now, missing=record.id in missing, closed=slipped.get(record.id))
            except Exception as error:
                if is_outage(error):
                    raise
                # One turn that cannot be repaired must not hold up the others.
                log.exception("repair_failed", turn_id=record.id)

    async def _repair(self, record: TurnRecord, now: datetime, *, missing: bool, closed: Closed | None) -> None:
        verdict = await self._verdict(record, now)
        if verdict is not None:
            # The status is read after the document: a worker's result that arrived in between has priority over our
            # verdict.
            if await self._queue.job_status(record.id) != "finished" and await self._finalizer.end(record, verdict):
                TURNS_RECONCILED.labels("failed").inc()
        elif closed is not None:
            await self._slipped.close(record, closed)
        elif record.cancel_requested:
            await self._finalizer.stop(record)
            TURNS_RECONCILED.labels("cancelled").inc()
        elif missing and not await self._retry_guard.withdrawn(record):
            await self._queue.enqueue(record.job())
            TURNS_RECONCILED.labels("enqueued").inc()
            log.info("turn_enqueued_by_reconciler", turn_id=record.id, attempt=record.attempt)

    async def _verdict(self, record: TurnRecord, now: datetime) -> Verdict | None:
        """Why the turn has to end: it has no time or no tries left. None: it may go on."""
        if time.monotonic() < self._calm_from:
            return None
        if record.first_claim_at is None:
            waited_s = (now - record.created_at).total_seconds()
            return NEVER_STARTED if waited_s > self._settings.queue_timeout_s else None
        ran_s = (now - record.first_claim_at).total_seconds()
        if ran_s > self._settings.turn_timeout_s + DEADLINE_GRACE_S:
            return TOO_LATE
        if record.tries >= self._settings.max_tries and await self._is_abandoned(record.id):
            return OUT_OF_TRIES
        return None

    async def _is_abandoned(self, turn_id: str) -> bool:
        """Whether nobody has held the turn for longer than a worker needs to restore its lease."""
        if await self._queue.holder(turn_id) is not None:
            self._unheld.pop(turn_id, None)
            return False
        return time.monotonic() - self._unheld.setdefault(turn_id, time.monotonic()) > self._patience_s


def _accounts(records: list[TurnRecord]) -> tuple[list[Account], list[Account]]:
    """Those of turns that wait, and those of turns that run. Checks have no budgets."""
    waiting: list[Account] = []
    running: list[Account] = []
    for record in records:
        if record.check is None:
            (running if record.status == "running" else waiting).append(account_of(record))
    return waiting, running
