"""The sweep: finds turns that were lost between the stores and puts them right.

Every history does it; that its writes are conditional makes that safe.
"""

import asyncio
import random
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Final, Self

from redis.exceptions import RedisError

from services.history.metrics import TURNS_SWEPT
from services.history.mongo.client import Database
from services.history.mongo.filters import above, one_of, up_to
from services.history.reconcile.outbox import Outbox
from services.history.settings import HistorySettings
from services.history.turns.erasure import Erasure
from services.history.turns.finalize import TurnFinalizer
from services.history.turns.record import WITHOUT_TEXT, TurnRecord
from services.history.turns.verdicts import NEVER_STARTED, OUT_OF_TRIES, TOO_LATE, Verdict
from shared.contracts.errors import ApiError
from shared.contracts.jobs import RunTurn
from shared.log import get_logger
from shared.tasks import BackgroundLoops
from shared.turn_queue.queue import TurnQueue

log = get_logger()

PAGE: Final = 500
ERASE_PAGE: Final = 200
# A younger turn is still on its way from its admission to the queue.
YOUNG_S: Final = 1.0
# A worker ends an overdue turn itself, and knows more about it.
DEADLINE_GRACE_S: Final = 5.0
HOUSEKEEPING_EVERY_S: Final = 600.0
# A round may be long where there is much to erase: only several missed ones make the process unready.
STALE_ROUNDS: Final = 4
STALE_S: Final = 15.0


class Reconciler:
    """Runs at jittered intervals while it is open. It judges nothing while the queue Redis is away, nor just after an outage."""

    def __init__(
        self,
        database: Database,
        queue: TurnQueue,
        outbox: Outbox,
        finalizer: TurnFinalizer,
        erasure: Erasure,
        settings: HistorySettings,
    ) -> None:
        self._turns = database.turns
        self._sessions = database.sessions
        self._queue = queue
        self._outbox = outbox
        self._finalizer = finalizer
        self._erasure = erasure
        self._settings = settings
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.loops = BackgroundLoops()
        self._calm_from = 0.0
        self._housekeeping_from = time.monotonic() + HOUSEKEEPING_EVERY_S
        # Since when a turn was seen without a holder. A flush takes leases away for a moment; that alone proves nothing.
        self._unheld: dict[str, float] = {}

    async def __aenter__(self) -> Self:
        stale_after_s = STALE_ROUNDS * (self._settings.reconcile_interval_s + STALE_S)
        self._task = self.loops.start("reconciler", self._reconcile_forever(), stale_after_s=stale_after_s)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.loops.expect_end()
        self._stopping.set()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _reconcile_forever(self) -> None:
        while not self._stopping.is_set():
            try:
                await self.round()
                self.loops.succeeded("reconciler")
            except (RedisError, OSError) as error:
                self._calm_from = time.monotonic() + self._patience_s
                log.warning("reconcile_postponed", error=type(error).__name__)
            except ApiError as error:
                log.warning("reconcile_postponed", error=str(error.code))
            except Exception:
                log.exception("sweep_failed")
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.reconcile_interval_s * random.uniform(0.7, 1.3)):
                    await self._stopping.wait()

    @property
    def _patience_s(self) -> float:
        """How long a worker may need to be seen with its lease again."""
        return self._settings.lease_s + 1.0

    async def round(self) -> None:
        """One pass over everything. Raises ApiError, RedisError or OSError."""
        finished = await self._outbox.drain()
        seen: set[str] = set()
        after = ""
        while not self._stopping.is_set():
            rows = await self._turns.many(
                {"active": True, "_id": above(after)}, fields=WITHOUT_TEXT, order=[("_id", 1)], limit=PAGE
            )
            await self._look_at([TurnRecord.model_validate(row) for row in rows], finished)
            seen.update(row["_id"] for row in rows)
            if len(rows) < PAGE:
                break
            after = rows[-1]["_id"]
        self._unheld = {turn_id: since for turn_id, since in self._unheld.items() if turn_id in seen}
        await self._erase_completions()
        await self._erase_sessions()
        await self._keep_house()

    async def _look_at(self, records: list[TurnRecord], finished: set[str] | None) -> None:
        now = datetime.now(UTC)
        old = [record for record in records if (now - record.created_at).total_seconds() > YOUNG_S]
        missing = set(await self._queue.missing([record.id for record in old]))
        for record in old:
            if finished is None or record.id in finished:
                continue
            await self._put_right(record, now, missing=record.id in missing)

    async def _put_right(self, record: TurnRecord, now: datetime, *, missing: bool) -> None:
        verdict = await self._verdict(record, now)
        if verdict is not None:
            # Looked at after the document was read: a worker's result that came in between stands before any verdict of ours.
            if await self._queue.job_status(record.id) != "finished" and await self._finalizer.end(record, verdict):
                TURNS_SWEPT.labels("failed").inc()
        elif record.cancel_requested:
            await self._finalizer.stop(record)
            TURNS_SWEPT.labels("cancelled").inc()
        elif missing:
            await self._queue.enqueue(RunTurn(record.workspace, record.id, record.agent_id, record.agent_version))
            TURNS_SWEPT.labels("enqueued").inc()
            log.info("turn_enqueued_by_reconciler", turn_id=record.id, attempt=record.attempt)

    async def _verdict(self, record: TurnRecord, now: datetime) -> Verdict | None:
        """Whether the turn's time or its tries are over."""
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
        """Whether nobody has held the turn for longer than a worker needs to be back."""
        if await self._queue.holder(turn_id) is not None:
            self._unheld.pop(turn_id, None)
            return False
        return time.monotonic() - self._unheld.setdefault(turn_id, time.monotonic()) > self._patience_s

    # --- what has to go

    async def _erase_completions(self) -> None:
        """Completions that nobody asked to store: their text goes, digest and usage stay for a while."""
        now = datetime.now(UTC)
        due = up_to(now - timedelta(seconds=self._settings.log_keep_s))
        change = {
            "$set": {
                "erased": True,
                "input": [],
                "output": [],
                "expiresAt": now + timedelta(seconds=self._settings.completion_keep_s),
            },
            "$unset": {"completion": "", "metadata": "", "erasable": ""},
        }
        count = ERASE_PAGE
        while count == ERASE_PAGE and not self._stopping.is_set():
            rows = await self._turns.many({"erasable": True, "endedAt": due}, fields={"_id": 1}, limit=ERASE_PAGE)
            count = len(rows)
            if rows:
                await self._turns.update_all({"_id": one_of([row["_id"] for row in rows]), "erasable": True}, change)

    async def _erase_sessions(self) -> None:
        """Deletions that were cut off."""
        for row in await self._sessions.many({"erasing": True}, fields={"workspace": 1}, limit=PAGE):
            try:
                await self._erasure.erase_session(row["workspace"], row["_id"])
            except (ApiError, RedisError, OSError) as error:
                # One session whose logs cannot be reached must not hold up the others.
                log.warning("erasure_postponed", session_id=row["_id"], error=type(error).__name__)

    async def _keep_house(self) -> None:
        if time.monotonic() > self._housekeeping_from:
            self._housekeeping_from = time.monotonic() + HOUSEKEEPING_EVERY_S
            await self._outbox.remove_dead()
