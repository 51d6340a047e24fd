"""What nobody needs any more of a source is erased: old readings, and the content of deleted sources.

A version holds the readings that it was published with. A reading is erased only when no version holds it. A version
that is being published checks its sources again after it has written them down (`version_sources.py`), so that one of
the two notices.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

from services.history.audit.records import Audit
from services.history.knowledge.blobs import BlobStore, blob_key
from services.history.knowledge.passages import Passages
from services.history.knowledge.source_documents import passages_owner, purged
from services.history.knowledge.version_indexes import VersionIndexes
from services.history.mongo.client import Database
from services.history.mongo.filters import Document
from shared.contracts.errors import ApiError, Code

PAGE: Final = 100
RequireAgent = Callable[[str, str], Awaitable[None]]
"""Raises `agent_not_found` for an agent that the workspace does not have."""


class SourceErasure:
    def __init__(
        self,
        database: Database,
        passages: Passages,
        blobs: BlobStore,
        audit: Audit,
        indexes: VersionIndexes,
        require_agent: RequireAgent,
    ) -> None:
        self._sources = database.sources
        self._require_agent = require_agent
        self._versions = database.agent_versions
        self._passages = passages
        self._blobs = blobs
        self._audit = audit
        self._indexes = indexes

    async def reconcile(self) -> None:
        """Goes on with what was cut off."""
        for row in await self._sources.many({"erasing": True}, fields={"_id": 1}, limit=PAGE):
            await self.erase_unused(row["_id"])

    async def erase_unused(self, source_id: str) -> None:
        """May be repeated, and by several processes at once."""
        row = await self._sources.one({"_id": source_id})
        if row is None:
            return
        await self._audit.deliver(self._sources, row)
        if not row.get("purge") and await self._has_no_agent(row):
            await self._sources.update({"_id": source_id}, purged(datetime.now(UTC)))
            await self.erase_unused(source_id)
            return
        if row.get("purge"):
            await self._take_from_versions(row)
            await self._indexes.renew(row["workspace"], row["agentId"])
        held = await self._held(row)
        current = [row["currentAttempt"]] if row.get("currentAttempt") and row.get("removed") else []
        unfinished = [row["attempt"]] if row.get("removed") else []
        for attempt in {*row.get("stale", ()), *current, *unfinished}:
            if passages_owner(row, attempt) not in held:
                await self._passages.erase(passages_owner(row, attempt))
                await self._sources.update({"_id": source_id}, {"$pull": {"stale": attempt}})
        if row.get("removed"):
            await self._blobs.delete(blob_key(row["workspace"], source_id))
        # Not if it has changed since it was read: what became unused meanwhile is still to be erased, and audited.
        unchanged = {"_id": source_id, "attempt": row["attempt"], "updatedAt": row["updatedAt"]}
        if row.get("removed") and not held:
            await self._sources.delete(unchanged)
        else:
            await self._sources.update(unchanged, {"$unset": {"erasing": ""}})

    async def _has_no_agent(self, row: Document) -> bool:
        """It was added while its agent was deleted, and the process that added it has died."""
        try:
            await self._require_agent(row["workspace"], row["agentId"])
        except ApiError as error:
            if error.code is Code.AGENT_NOT_FOUND:
                return True
            raise
        return False

    async def _held(self, row: Document) -> set[str]:
        """The readings that versions hold."""
        fields = {"sources": 1}
        versions = await self._versions.many({"sourceIds": row["_id"]}, fields=fields)
        return {each["owner"] for version in versions for each in version["sources"] if each["id"] == row["_id"]}

    async def _take_from_versions(self, row: Document) -> None:
        for version in await self._versions.many({"sourceIds": row["_id"]}, fields={"sources": 1}):
            lost = sum(each["count"] for each in version["sources"] if each["id"] == row["_id"])
            change = {
                "$pull": {"sources": {"id": row["_id"]}, "sourceIds": row["_id"]},
                "$inc": {"passageCount": -lost},
            }
            await self._versions.update({"_id": version["_id"], "sourceIds": row["_id"]}, change)
