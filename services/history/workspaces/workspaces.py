"""Workspaces: the tenants. `deletion.py` erases what belongs to one that is deleted."""

from datetime import UTC, datetime
from typing import Final

from services.history.audit.records import PENDING, Audit, audit_entry
from services.history.mongo.client import Database
from services.history.mongo.errors import Duplicate
from services.history.mongo.filters import Document, above
from shared.contracts.errors import ApiError, Code
from shared.contracts.workspaces import ChangeWorkspace, Receipt, Workspace
from shared.key_notices import KeyNotices

ADOPT_PAGE: Final = 500


class Workspaces:
    """A workspace's document outlives the workspace: it holds the receipt, and keeps the name from being used again."""

    def __init__(self, database: Database, audit: Audit, notices: KeyNotices) -> None:
        self._documents = database.workspaces
        self._keys = database.keys
        self._audit = audit
        self._notices = notices
        self._adopted = False

    async def create(self, name: str) -> Workspace:
        """Idempotent. Raises `gone` for a name whose workspace was deleted."""
        await self.ensure(name)
        return await self.get(name)

    async def ensure(self, name: str) -> None:
        """Creates the workspace unless it exists. Raises `gone`."""
        row = await self._documents.one({"_id": name}, {"status": 1})
        if row is None:
            try:
                await self._documents.insert(_new(name))
            except Duplicate:
                row = await self._documents.one({"_id": name}, {"status": 1})
        if row is not None and row["status"] != "active":
            raise ApiError(Code.GONE, "This workspace was deleted, and its name is not given out again.")

    async def get(self, name: str) -> Workspace:
        """Raises `not_found`."""
        row = await self._documents.one({"_id": name})
        if row is None:
            raise ApiError(Code.NOT_FOUND)
        return workspace_of(row)

    async def page(self, after: str | None, limit: int) -> tuple[list[Workspace], str | None]:
        """In the order of their names, deleted ones with their receipts, and the name to continue from."""
        where = {"_id": above(after or "")}
        rows = await self._documents.many(where, order=[("_id", 1)], limit=limit + 1)
        found = [workspace_of(row) for row in rows[:limit]]
        return found, found[-1].name if len(rows) > limit else None

    async def change(self, name: str, change: ChangeWorkspace) -> Workspace:
        """Raises `not_found`, also for a workspace that is deleted."""
        days = change.transcript_days
        kept: Document = {"$set": {"transcriptDays": days}} if days is not None else {"$unset": {"transcriptDays": ""}}
        entry = audit_entry("workspace.retention_changed", name, None, transcriptDays=days)
        where = {"_id": name, "status": "active"}
        if not await self._documents.update(where, {**kept, "$push": {PENDING: entry}}):
            raise ApiError(Code.NOT_FOUND)
        await self._deliver(where)
        return await self.get(name)

    async def reconcile(self, limit: int = 100) -> None:
        """Delivers audit entries that did not reach their collection. A workspace that is deleted has no audit."""
        for row in await self._documents.many({f"{PENDING}.id": above(""), "status": "active"}, limit=limit):
            await self._deliver({"_id": row["_id"], "status": "active"})

    async def _deliver(self, where: Document) -> None:
        if (row := await self._documents.one(where)) is not None:
            await self._audit.deliver(self._documents, row)

    async def delete(self, name: str) -> Workspace:
        """Begins the deletion; the reconciler completes it. Idempotent. Raises `not_found`.

        The keys stop working at once: nobody can reach what is not erased yet.
        """
        now = datetime.now(UTC)
        change = {"$set": {"status": "deleting", "deleting": True, "requestedAt": now}}
        await self._documents.update({"_id": name, "status": "active"}, change)
        workspace = await self.get(name)
        await self._keys.update_all({"workspace": name, "revokedAt": None}, {"$set": {"revokedAt": now}})
        await self._notices.publish(name)
        return workspace

    async def adopt(self) -> None:
        """Once per process: workspaces of keys that were made before workspaces had documents."""
        after = ""
        while not self._adopted:
            rows = await self._keys.many(
                {"workspace": above(after)}, fields={"workspace": 1}, order=[("workspace", 1)], limit=ADOPT_PAGE
            )
            for name in sorted({row["workspace"] for row in rows}):
                if await self._documents.one({"_id": name}, {"_id": 1}) is None:
                    await self._insert(name)
                after = name
            self._adopted = len(rows) < ADOPT_PAGE

    async def _insert(self, name: str) -> None:
        try:
            await self._documents.insert(_new(name))
        except Duplicate:
            return  # Another history was faster.


def _new(name: str) -> Document:
    return {"_id": name, "workspace": name, "status": "active", "createdAt": datetime.now(UTC)}


def workspace_of(row: Document) -> Workspace:
    receipt = None
    if row["status"] == "deleted":
        receipt = Receipt(
            requested_at=row["requestedAt"], completed_at=row["completedAt"], erased=dict(row.get("erased", {}))
        )
    return Workspace(
        name=row["_id"],
        status=row["status"],
        created_at=row["createdAt"],
        transcript_days=row.get("transcriptDays"),
        receipt=receipt,
    )
