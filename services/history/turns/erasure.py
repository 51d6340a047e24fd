"""Erasure: what was said in turns is removed from both stores. Their usage stays, without content."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from services.history.mongo.client import Database
from services.history.mongo.filters import Document, Where, one_of
from services.history.turns.erasing_marks import ErasingMarks
from services.history.turns.finalize import TurnFinalizer
from services.history.turns.record import KEPT_OF_ERASED, USAGE_ONLY, WITHOUT_TEXT, TurnRecord
from services.history.turns.redis_erasure import RedisErasure
from services.history.turns.verdicts import CANCELLED
from services.history.usage.ledger import Ledger
from shared.turn_queue.queue import TurnQueue

PAGE: Final = 100
_READ: Final = dict.fromkeys((*KEPT_OF_ERASED, "unbilled"), 1)


class Erasure:
    """Each method may be repeated, and be called by several processes at once.

    Raises ApiError, RedisError or OSError while a store is away: then the erasure is not acknowledged.
    """

    def __init__(
        self,
        database: Database,
        queue: TurnQueue,
        finalizer: TurnFinalizer,
        ledger: Ledger,
        in_redis: RedisErasure,
    ) -> None:
        self._marks = ErasingMarks(database)
        self._turns = database.turns
        self._queue = queue
        self._finalizer = finalizer
        self._ledger = ledger
        self.in_redis = in_redis

    async def erase_session(self, workspace: str, session_id: str) -> int:
        """Ends the active turn, whoever runs it, then removes the turns and their logs. Returns how many there were.

        The session stays marked until all is gone, so the reconciler completes the deletion if the caller does not.
        """
        turns, count = {"workspace": workspace, "sessionId": session_id}, 0
        while True:
            marks = await self._marks.known(workspace, session_id)
            if (record := await self._finalizer.active_of(workspace, session_id)) is not None:
                await self._cancel(record)
                continue
            count += await self._erase_turns(workspace, turns)
            self._finalizer.contexts.forget(workspace, session_id)
            if await self._marks.remove(workspace, session_id, marks):
                return count

    async def erase_completion(self, workspace: str, turn_id: str) -> None:
        """Like a session's turn, with no tombstone. A completion that runs is cancelled."""
        where = {"_id": turn_id, "workspace": workspace, USAGE_ONLY: None}
        while (row := await self._turns.one(where, WITHOUT_TEXT)) is not None and row["active"]:
            await self._cancel(TurnRecord.model_validate(row))
        await self._erase_turns(workspace, where)

    async def erase_again(self, workspace: str, session_id: str) -> None:
        """What slipped into a deleted session: a turn whose insert and the deletion did not see each other."""
        await self._marks.add(workspace, session_id)
        await self.erase_session(workspace, session_id)

    async def _cancel(self, record: TurnRecord) -> None:
        """Raises the attempt: whatever its worker still sends is fenced."""
        await self._queue.signal_cancel(record.id)
        await self._finalizer.end(record, CANCELLED)

    async def _erase_turns(self, workspace: str, where: Where) -> int:
        """Only those that have ended: the end of a turn bills its use, and returns its places and reservations."""
        total = 0
        while rows := [row for row in await self._turns.many(where, fields=_READ, limit=PAGE) if not row["active"]]:
            # What the turns have used is known when they are gone.
            if any(row.get("unbilled") for row in rows):
                await self._ledger.must_bill(workspace)
                continue
            await self._erase_page(workspace, rows)
            total += len(rows)
        return total

    async def _erase_page(self, workspace: str, rows: Sequence[Document]) -> None:
        """Redis first: a turn whose document is gone is not looked for there again."""
        # Only what can still exist there: older logs have expired.
        alive_from = datetime.now(UTC) - self.in_redis.log_life
        recent = [row["_id"] for row in rows if row.get("endedAt", alive_from) >= alive_from]
        await self.in_redis.erase(workspace, recent)
        await self._turns.replace_all([{**row, USAGE_ONLY: True} for row in rows if row.get("usage")])
        free = [row["_id"] for row in rows if not row.get("usage")]
        if free:
            await self._turns.delete_all({"_id": one_of(free)})
