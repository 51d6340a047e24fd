"""Turns that exist: they are read, and cancelled."""

from collections.abc import Sequence
from typing import Final

from services.history.mongo.client import Database
from services.history.mongo.filters import one_of
from services.history.turns.finalize import TurnFinalizer
from services.history.turns.record import OUTLINE, SHOWN, USAGE_ONLY, WITHOUT_TEXT, TurnRecord, record_of
from shared.contracts.errors import ApiError, Code
from shared.contracts.turns import StoredTurn, Turn

STATES_PAGE: Final = 500


class Turns:
    def __init__(self, database: Database, finalizer: TurnFinalizer) -> None:
        self._turns = database.turns
        self._sessions = database.sessions
        self._finalizer = finalizer

    async def read(self, workspace: str, turn_id: str, *, text: bool = True) -> StoredTurn:
        """Raises `turn_not_found`."""
        row = await self._turns.one(
            {"_id": turn_id, "workspace": workspace, USAGE_ONLY: None}, SHOWN if text else OUTLINE
        )
        if row is None:
            raise ApiError(Code.TURN_NOT_FOUND)
        record = TurnRecord.model_validate(row)
        await self._refuse_deleted(record)
        return record.stored()

    async def states(self, names: Sequence[tuple[str, str]]) -> list[Turn | None]:
        """Of many turns, each named by workspace and id, in their order."""
        found: dict[tuple[str, str], Turn] = {}
        for start in range(0, len(names), STATES_PAGE):
            ids = sorted({turn_id for _, turn_id in names[start : start + STATES_PAGE]})
            for row in await self._turns.many({"_id": one_of(ids), USAGE_ONLY: None}, fields=WITHOUT_TEXT):
                record = TurnRecord.model_validate(row)
                found[record.workspace, record.id] = record.turn()
        return [found.get(name) for name in names]

    async def cancel(self, workspace: str, turn_id: str) -> Turn:
        """Idempotent. The turn after the request was recorded; it may still be active. Raises `turn_not_found`."""
        record = await self._record(workspace, turn_id)
        if not record.active:
            return record.turn()
        await self._finalizer.stop(record)
        return (await self._record(workspace, turn_id)).turn()

    async def _record(self, workspace: str, turn_id: str) -> TurnRecord:
        where = {"_id": turn_id, "workspace": workspace, USAGE_ONLY: None}
        record = record_of(await self._turns.one(where, WITHOUT_TEXT))
        if record is None:
            raise ApiError(Code.TURN_NOT_FOUND)
        await self._refuse_deleted(record)
        return record

    async def _refuse_deleted(self, record: TurnRecord) -> None:
        """A turn that slipped into a deleted session is there until the reconciler erases it, and is not to be seen."""
        if record.session_id is None:
            return
        deleted = {"_id": record.session_id, "workspace": record.workspace, "status": "deleted"}
        if await self._sessions.one(deleted, {"_id": 1}) is not None:
            raise ApiError(Code.TURN_NOT_FOUND)
