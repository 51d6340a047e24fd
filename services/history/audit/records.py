"""Audit records: written once, never changed, never with content.

A change writes its record into its own document (`unaudited`) by the same update, and this collection gets it
afterwards; the reconciler delivers what a killed process left behind. So no change is without its record, and no record
without its change.
"""

from datetime import UTC, datetime
from typing import Any, Final

from services.history.mongo.client import Database
from services.history.mongo.collection import Collection
from services.history.mongo.dialect import IdField
from services.history.mongo.errors import Duplicate
from services.history.mongo.filters import Document
from shared.contracts.agent_records import AuditRecord
from shared.ids import new_id
from shared.web.middleware import callers_request_id

PENDING: Final = "unaudited"
_IDS: Final = IdField("_id", "aud")


def audit_entry(action: str, target: str, actor: str | None, **details: Any) -> Document:
    """An entry for the `unaudited` list of the document that changes."""
    entry: Document = {"id": new_id("aud"), "at": datetime.now(UTC), "action": action, "target": target}
    if actor is not None:
        entry["actor"] = actor
    if (request_id := callers_request_id()) is not None:
        entry["requestId"] = request_id
    return entry | ({"details": details} if details else {})


class Audit:
    def __init__(self, database: Database) -> None:
        self._records = database.audit

    async def record(self, workspace: str, entry: Document) -> None:
        """May be repeated."""
        try:
            await self._records.insert({**entry, "_id": entry["id"], "workspace": workspace})
        except Duplicate:
            return

    async def deliver(self, documents: Collection, row: Document) -> None:
        """Moves the pending entries of a document into the collection.

        May be repeated, and by several processes at once.
        """
        for entry in row.get(PENDING, ()):
            await self.record(row["workspace"], entry)
            await documents.update({"_id": row["_id"]}, {"$pull": {PENDING: {"id": entry["id"]}}})

    async def page(self, workspace: str, before: str | None, limit: int) -> tuple[list[AuditRecord], str | None]:
        """The newest records with an id below `before`, and the id to continue from."""
        rows, following = await self._records.page({"workspace": workspace}, _IDS, "desc", before, limit)
        return [AuditRecord.model_validate({**row, "id": row["_id"]}) for row in rows], following
