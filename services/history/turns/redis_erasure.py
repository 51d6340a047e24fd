"""What Redis holds of erased turns: jobs, snapshots and run logs. It is erased at once, and again a minute later.

A Redis that fails over, or starts again after a crash, may lack its last seconds, and so an erasure. The second one
finds what came back. A command that waits for a replica would not do it: another replica may take over, and a Redis
that is cut off from its replicas answers as before.
"""

import asyncio
import hashlib
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from redis.exceptions import RedisError

from services.history.metrics import RUN_LOGS_BACK
from services.history.mongo.client import Database
from services.history.mongo.errors import Duplicate
from services.history.mongo.filters import Document, up_to
from services.history.settings import HistorySettings
from shared.log import get_logger
from shared.run_log.reader import RunLogs
from shared.turn_queue.queue import TurnQueue

log = get_logger()

# A fail-over takes seconds, and a master without replicas takes no more writes after `min-replicas-max-lag`, 10 s.
AGAIN_AFTER: Final = timedelta(seconds=60)
POSTPONED_BY: Final = timedelta(seconds=30)
# Turns that are erased at the same time.
AT_ONCE: Final = 8
PAGE: Final = 50


class RedisErasure:
    """The notes for the second erasure are documents of their own: most erased turns have none any more.

    Raises ApiError, RedisError or OSError while a store is away. Each method may be repeated, and be called by several
    processes at once.
    """

    def __init__(self, database: Database, queue: TurnQueue, logs: RunLogs, settings: HistorySettings) -> None:
        self._notes = database.erased_logs
        self._queue = queue
        self._logs = logs
        # A log whose turn never ended lives until the writer's expiry, which is longer than twice the deadline.
        self.log_life = timedelta(seconds=settings.log_keep_s + 4 * settings.turn_timeout_s)

    async def erase(self, workspace: str, turn_ids: Sequence[str], *, active: Collection[str] = ()) -> None:
        """The worker of an active turn is told to stop, and can write no more."""
        if not turn_ids:
            return
        await self._note(workspace, turn_ids)
        for turn_id in active:
            await self._queue.signal_cancel(turn_id)
        await self._erase(workspace, turn_ids)

    async def reconcile(self) -> None:
        """Erases again what is due, oldest first. One note in a round may meet a server that is away."""
        for note in await self._notes.many({"dueAt": up_to(datetime.now(UTC))}, order=[("dueAt", 1)], limit=PAGE):
            seen = {"_id": note["_id"], "dueAt": note["dueAt"]}
            try:
                back = await self._erase(note["workspace"], note["turns"])
            except (RedisError, OSError) as error:
                await self._postpone(seen, note, error)
                return
            if back:
                RUN_LOGS_BACK.inc(back)
                log.warning("erased_run_logs_were_back", workspace=note["workspace"], count=back)
            # It stays if the same turns were erased once more meanwhile.
            await self._notes.delete(seen)

    async def _note(self, workspace: str, turn_ids: Sequence[str]) -> None:
        """Before the first erasure, so that a kill in between forgets nothing."""
        now = datetime.now(UTC)
        digest = hashlib.sha256(" ".join((workspace, *turn_ids)).encode()).hexdigest()
        note = {"_id": digest, "workspace": workspace, "turns": list(turn_ids), "dueAt": now + AGAIN_AFTER, "at": now}
        try:
            await self._notes.insert(note)
        except Duplicate:
            await self._notes.update({"_id": digest}, {"$max": {"dueAt": note["dueAt"], "at": now}})

    async def _erase(self, workspace: str, turn_ids: Sequence[str]) -> int:
        """How many logs there were."""
        found = 0
        for start in range(0, len(turn_ids), AT_ONCE):
            turns = turn_ids[start : start + AT_ONCE]
            found += sum(await asyncio.gather(*(self._erase_turn(workspace, turn_id) for turn_id in turns)))
        return found

    async def _erase_turn(self, workspace: str, turn_id: str) -> bool:
        await self._queue.forget(turn_id)
        return await self._logs.erase(workspace, turn_id)

    async def _postpone(self, seen: Document, note: Document, error: Exception) -> None:
        now = datetime.now(UTC)
        if now - note["at"] > self.log_life:
            await self._notes.delete(seen)  # By now the logs have expired, on a server that may never come back.
            return
        log.warning("second_erasure_postponed", error=type(error).__name__)
        await self._notes.update(seen, {"$set": {"dueAt": now + POSTPONED_BY}})
