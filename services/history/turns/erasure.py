"""Erasure: turns and their run logs are removed with their session."""

from datetime import UTC, datetime, timedelta

from services.history.mongo.client import Database
from services.history.settings import HistorySettings
from services.history.turns.finalize import TurnFinalizer
from services.history.turns.record import TurnRecord
from services.history.turns.verdicts import CANCELLED
from shared.run_log.reader import RunLogs
from shared.turn_queue.queue import TurnQueue


class Erasure:
    def __init__(
        self, database: Database, queue: TurnQueue, logs: RunLogs, finalizer: TurnFinalizer, settings: HistorySettings
    ) -> None:
        self._sessions = database.sessions
        self._turns = database.turns
        self._queue = queue
        self._logs = logs
        self._finalizer = finalizer
        # A log whose turn never ended lives until the writer's expiry, which is longer than twice the deadline.
        self._log_life = timedelta(seconds=settings.log_keep_s + 4 * settings.turn_timeout_s)

    async def erase_session(self, workspace: str, session_id: str) -> None:
        """Ends the active turn, whoever runs it, then removes the turns and their logs. May be repeated.

        Raises ApiError, RedisError or OSError while a store is away: then the deletion is not acknowledged, because its
        turns can still be read. The session stays marked, so the reconciler completes the deletion if the caller does
        not.
        """
        while (record := await self._finalizer.active_of(workspace, session_id)) is not None:
            await self._queue.signal_cancel(record.id)
            await self._finalizer.end(record, CANCELLED)
        await self._erase_logs(workspace, session_id)
        await self._turns.delete_all({"workspace": workspace, "sessionId": session_id})
        self._finalizer.contexts.forget(workspace, session_id)
        await self._sessions.update({"_id": session_id, "workspace": workspace}, {"$unset": {"erasing": ""}})

    async def erase_turn(self, record: TurnRecord) -> None:
        """Removes a turn that was admitted while its session was deleted."""
        await self._turns.delete({"_id": record.id, "workspace": record.workspace})
        await self._logs.erase(record.workspace, record.id)
        await self._queue.forget(record.id)

    async def _erase_logs(self, workspace: str, session_id: str) -> None:
        """Only the logs that can still exist: older ones have expired."""
        alive_from = datetime.now(UTC) - self._log_life
        where = {"workspace": workspace, "sessionId": session_id}
        for row in await self._turns.many(where, fields={"endedAt": 1}):
            if row.get("endedAt", alive_from) >= alive_from:
                await self._logs.erase(workspace, row["_id"])
