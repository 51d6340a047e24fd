"""Parking: an outbox entry that can never be processed is set aside, and its turn ends as failed.

The dead letter has ids and a reason only. The turn's answer is not kept: it must not outlive the erasure of its
session.
"""

import time

import orjson

from services.history.metrics import OUTBOX_PARKED
from services.history.mongo.client import Database
from services.history.mongo.filters import Document
from services.history.turns.finalize import TurnFinalizer
from services.history.turns.record import TurnRecord
from services.history.turns.verdicts import UNDECODABLE_JOB, UNSTORABLE
from shared.log import get_logger
from shared.outbox import OutboxEntry
from shared.turn_queue.dead_letters import keep_letter
from shared.turn_queue.queue import TurnQueue

log = get_logger()


class Parking:
    def __init__(self, database: Database, queue: TurnQueue, finalizer: TurnFinalizer) -> None:
        self._turns = database.turns
        self._queue = queue
        self._finalizer = finalizer

    async def park(self, entry_id: bytes, entry: OutboxEntry, attempt: int | None, reason: str) -> None:
        """May be repeated. `attempt` None: the entry could not be read, so it counts for the attempt that runs.

        Raises ApiError, RedisError or OSError while a store is away.
        """
        # The entry of an undecodable job names no workspace.
        where = {"_id": entry.turn_id, **({"workspace": entry.workspace} if entry.workspace else {})}
        row = await self._turns.one(where)
        if row is not None and row.get("active") and attempt in (None, row.get("attempt")):
            await self._end(row, entry)
        letter = {"turnId": entry.turn_id, "entryId": entry_id.decode(), "reason": reason, "at": round(time.time(), 3)}
        await keep_letter(self._queue, orjson.dumps(letter))
        OUTBOX_PARKED.labels(reason).inc()
        log.error("outbox_entry_parked", turn_id=entry.turn_id, entry_id=entry_id.decode(), reason=reason)

    async def _end(self, row: Document, entry: OutboxEntry) -> None:
        verdict = UNSTORABLE if entry.workspace else UNDECODABLE_JOB
        try:
            record = TurnRecord.model_validate(row)
        except ValueError:
            await self._finalizer.end_unreadable(row, verdict)
        else:
            await self._finalizer.end(record, verdict)
