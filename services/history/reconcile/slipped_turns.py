"""Turns that slipped into a session: their insert and the session's end or deletion did not see each other."""

from collections.abc import Sequence
from typing import Final, Literal

from services.history.metrics import TURNS_RECONCILED
from services.history.mongo.client import Database
from services.history.mongo.filters import in_batches, one_of
from services.history.turns.erasing_marks import ErasingMarks
from services.history.turns.finalize import TurnFinalizer
from services.history.turns.record import TurnRecord
from shared.log import get_logger

log = get_logger()

Closed = Literal["ended", "deleted"]
_CLOSED: Final = one_of(("ended", "deleted"))


class SlippedTurns:
    """Admission does not look again whether the session has ended: it would be one more read for each turn.

    The same turns are left active where a process was killed between the end of a session and the cancelling of its
    turn. Raises ApiError while MongoDB is away.
    """

    def __init__(self, database: Database, finalizer: TurnFinalizer) -> None:
        self._sessions = database.sessions
        self._marks = ErasingMarks(database)
        self._finalizer = finalizer

    async def among(self, records: Sequence[TurnRecord]) -> dict[str, Closed]:
        """Those of the active turns whose session has ended or is deleted, by their ids."""
        of_sessions = {record.session_id: record for record in records if record.session_id is not None}
        found = dict[str, Closed]()
        for ids in in_batches(list(of_sessions)):
            where = {"_id": one_of(ids), "status": _CLOSED}
            for row in await self._sessions.many(where, fields={"workspace": 1, "status": 1}):
                record = of_sessions[row["_id"]]
                if record.workspace == row["workspace"]:
                    found[record.id] = row["status"]
        return found

    async def close(self, record: TurnRecord, closed: Closed) -> None:
        """Cancels the turn, or marks its deleted session, which housekeeping then erases. May be repeated."""
        if closed == "ended" or record.session_id is None:
            await self._finalizer.stop(record)
        else:
            await self._marks.add(record.workspace, record.session_id)
        TURNS_RECONCILED.labels("cancelled").inc()
        if not record.cancel_requested:
            log.info("slipped_turn_closed", turn_id=record.id, session_status=closed)
