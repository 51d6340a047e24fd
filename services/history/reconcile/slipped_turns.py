"""Turns that slipped into a session: their insert and the session's end or deletion did not see each other."""

from collections.abc import Sequence
from typing import Final

from services.history.metrics import TURNS_RECONCILED
from services.history.mongo.client import Database
from services.history.mongo.filters import one_of
from services.history.turns.erasure import Erasure
from services.history.turns.finalize import TurnFinalizer
from services.history.turns.record import TurnRecord
from shared.log import get_logger

log = get_logger()
_CLOSED: Final = one_of(("ended", "deleted"))


class SlippedTurns:
    """Admission does not look again whether the session has ended: it would be one more read for each turn.

    The same turns are left active where a process was killed between the end of a session and the cancelling of its
    turn.
    """

    def __init__(self, database: Database, finalizer: TurnFinalizer, erasure: Erasure) -> None:
        self._sessions = database.sessions
        self._erasure = erasure
        self._finalizer = finalizer

    async def close(self, records: Sequence[TurnRecord]) -> set[str]:
        """Cancels those of ended sessions, and erases those of deleted sessions.

        `records`: active turns. Returns the ids of those that it found. May be repeated. Raises ApiError, RedisError or
        OSError while a store is away.
        """
        of_sessions = {record.session_id: record for record in records if record.session_id is not None}
        if not of_sessions:
            return set()
        where = {"_id": one_of(list(of_sessions)), "status": _CLOSED}
        found: set[str] = set()
        for row in await self._sessions.many(where, fields={"workspace": 1, "status": 1}):
            record = of_sessions[row["_id"]]
            if record.workspace != row["workspace"]:
                continue
            found.add(record.id)
            if row["status"] == "deleted":
                await self._erasure.erase_again(record.workspace, row["_id"])
            else:
                await self._finalizer.stop(record)
            TURNS_RECONCILED.labels("cancelled").inc()
            log.info("slipped_turn_closed", turn_id=record.id, session_status=row["status"])
        return found
