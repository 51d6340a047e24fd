"""What is held of an end user beside their sessions, for the export; and the record that an export was made."""

from typing import Final

from services.history.audit.records import Audit, audit_entry
from services.history.mongo.client import Database
from services.history.mongo.dialect import IdField
from services.history.turns.record import TurnRecord
from shared.contracts.turns import StoredTurn

_IDS: Final = IdField("_id", "trn")


class Holdings:
    def __init__(self, database: Database, audit: Audit) -> None:
        self._turns = database.turns
        self._audit = audit

    async def completions(
        self, workspace: str, end_user: str, after: str | None, limit: int
    ) -> tuple[list[StoredTurn], str | None]:
        """The end user's completions with an id above `after`, oldest first, and the id to continue from.

        Those that nobody stores are held too, until their text is erased.
        """
        where = {"workspace": workspace, "endUserId": end_user, "sessionId": None}
        rows, following = await self._turns.page(where, _IDS, "asc", after, limit)
        return [TurnRecord.model_validate(row).stored() for row in rows], following

    async def record_export(self, workspace: str, export_id: str, actor: str | None) -> None:
        """May be repeated with the same entry only: each export is an entry. It does not say whose data it was."""
        await self._audit.record(workspace, audit_entry("end_user.exported", export_id, actor))
