"""What a turn's tools did to its session: forms that they filled in, and the session's end."""

from datetime import UTC, datetime

import orjson

from services.history.mongo.client import Database
from services.history.mongo.filters import Document, one_of
from services.history.turns.record import TurnRecord
from services.history.webhooks.subscriptions import Subscriptions
from shared.contracts.turns import FinishedTurn


class SessionEffects:
    """Both may be repeated: a redelivered result never overwrites what a later turn wrote."""

    def __init__(self, database: Database, subscriptions: Subscriptions) -> None:
        self._sessions = database.sessions
        self._subscriptions = subscriptions

    async def collect(self, record: TurnRecord | None, finished: FinishedTurn) -> None:
        """Must run before the turn's end is stored: a repeat then finds the turn ended, and writes nothing."""
        if record is None or record.session_id is None or not finished.collected:
            return
        if record.active and record.attempt == finished.attempt:
            where = {"_id": record.session_id, "workspace": record.workspace, "status": one_of(("active", "ended"))}
            forms = {f"collected.{name}": orjson.dumps(form).decode() for name, form in finished.collected.items()}
            await self._sessions.update(where, {"$set": forms})

    async def end_session(self, record: TurnRecord, finished: FinishedTurn) -> bool:
        """Must run after the turn's end is stored, or it would cancel this turn. True if the session was to end."""
        if not (finished.end_session and finished.status == "completed" and record.session_id is not None):
            return False
        where = {"_id": record.session_id, "workspace": record.workspace, "status": "active"}
        change: Document = {"$set": {"status": "ended", "endedAt": datetime.now(UTC), "endedReason": "agent"}}
        change = self._subscriptions.pushed(change, record.workspace, "session.ended")
        await self._sessions.update(where, change)
        return True
