"""Sources as an agent's authors work with them: added, listed, changed, read again and deleted."""

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Final

from services.history.audit.records import PENDING, Audit, audit_entry
from services.history.knowledge.blobs import BlobStore, blob_key
from services.history.knowledge.source_documents import (
    OF_PRESENT,
    READ_FROM_URL,
    absent,
    content_key,
    new_document,
    purged,
    queued,
    source_of,
)
from services.history.knowledge.source_erasure import RequireAgent, SourceErasure
from services.history.mongo.client import Database
from services.history.mongo.dialect import IdField
from services.history.mongo.errors import Duplicate
from services.history.mongo.filters import Document, above
from shared.contracts.errors import ApiError, Code
from shared.contracts.knowledge import (
    MAX_SOURCES,
    MAX_UPLOAD,
    NewSource,
    Source,
    SourceCounts,
    SourcePatch,
    StoredContent,
)
from shared.tracing.spans import traceparent
from shared.web.guard_rules import OutgoingPolicy, UrlRefused
from shared.web.stored_urls import checked_stored_url

ERASED_AT_ONCE: Final = 100
_IDS: Final = IdField("_id", "src")


class Sources:
    def __init__(
        self,
        database: Database,
        require_agent: RequireAgent,
        blobs: BlobStore,
        audit: Audit,
        erasure: SourceErasure,
        policy: OutgoingPolicy | None = None,
    ) -> None:
        """`policy`: where ingest workers may read; None: not known here."""
        self._sources = database.sources
        self._require_agent = require_agent
        self._blobs = blobs
        self._audit = audit
        self._erasure = erasure
        self._policy = policy

    async def upload(
        self, workspace: str, agent_id: str, source_id: str, content: AsyncIterator[bytes]
    ) -> StoredContent:
        """Stores a file for `create` to refer to. Raises `agent_not_found`, `payload_too_large`."""
        await self._require_agent(workspace, agent_id)
        digest, size = hashlib.sha256(), 0

        async def counted() -> AsyncIterator[bytes]:
            nonlocal size
            async for piece in content:
                size += len(piece)
                if size > MAX_UPLOAD:
                    raise ApiError(Code.PAYLOAD_TOO_LARGE, f"A file may have at most {MAX_UPLOAD >> 20} MiB.")
                digest.update(piece)
                yield piece

        await self._blobs.put(blob_key(workspace, source_id), counted())
        return StoredContent(size=size, digest=digest.hexdigest())

    async def create(self, workspace: str, agent_id: str, order: NewSource) -> Source:
        """The source, or the one that has the same content. Raises `agent_not_found`, `validation_failed`."""
        await self._require_agent(workspace, agent_id)
        if order.kind in READ_FROM_URL:
            self._require_address(order.url)
        # A repeat must touch neither the blob nor the count of the source that is there.
        if (own := await self._own(workspace, order)) is not None:
            return own
        stored = order.stored
        if order.content is not None:
            stored = await self._upload_text(workspace, agent_id, order)
        digest, size = (stored.digest, stored.size) if stored else ("", 0)
        row = new_document(workspace, agent_id, order, digest, size, datetime.now(UTC), traceparent())
        row[PENDING] = [audit_entry("knowledge.source_added", order.id, order.actor, agent=agent_id)]
        if sum((await self.counts(workspace, agent_id)).model_dump().values()) >= MAX_SOURCES:
            await self._blobs.delete(blob_key(workspace, order.id))
            raise ApiError(Code.VALIDATION_FAILED, f"An agent may have at most {MAX_SOURCES} sources.")
        try:
            await self._sources.insert(row)
        except Duplicate:
            return await self._existing(workspace, agent_id, order, digest)
        await self._confirm(row)
        await self._audit.deliver(self._sources, row)
        return source_of(row)

    def _require_address(self, url: str | None) -> None:
        """What can be told without a look-up. The address itself is checked at each reading."""
        if self._policy is None or url is None:
            return
        try:
            checked_stored_url(url, self._policy)
        except UrlRefused as error:
            fault = {"field": "url", "message": f"The address is not allowed: {error}."}
            raise ApiError(Code.VALIDATION_FAILED, errors=[fault]) from None

    async def _confirm(self, row: Document) -> None:
        """Looks whether the agent was deleted meanwhile: that deletion may not have seen this source.

        If this process dies before, the reconciler looks (`SourceErasure`). Raises `agent_not_found`.
        """
        try:
            await self._require_agent(row["workspace"], row["agentId"])
        except ApiError as error:
            if error.code is Code.AGENT_NOT_FOUND:
                await self.purge_of_agent(row["workspace"], row["agentId"])
            raise
        unread = {"_id": row["_id"], "attempt": 0, "removed": None}
        await self._sources.update(unread, {"$unset": {"erasing": ""}})

    async def _upload_text(self, workspace: str, agent_id: str, order: NewSource) -> StoredContent:
        async def content() -> AsyncIterator[bytes]:
            yield (order.content or "").encode()

        return await self.upload(workspace, agent_id, order.id, content())

    async def _existing(self, workspace: str, agent_id: str, order: NewSource, digest: str) -> Source:
        if (own := await self._own(workspace, order)) is not None:
            return own
        where = {"workspace": workspace, "agentId": agent_id, "contentKey": content_key(order, digest)}
        row = await self._sources.one(where)
        if row is None:
            raise ApiError(Code.OVERLOADED)  # It was deleted just now: the caller repeats.
        await self._blobs.delete(blob_key(workspace, order.id))
        return source_of(row)

    async def _own(self, workspace: str, order: NewSource) -> Source | None:
        """The source that an earlier try of the order made."""
        row = await self._sources.one({"_id": order.id, "workspace": workspace})
        return source_of(row) if row is not None else None

    async def get(self, workspace: str, agent_id: str, source_id: str) -> Source:
        return source_of(await self._row(workspace, agent_id, source_id))

    async def _row(self, workspace: str, agent_id: str, source_id: str) -> Document:
        """Raises `agent_not_found`, `not_found`."""
        await self._require_agent(workspace, agent_id)
        where = {"_id": source_id, "workspace": workspace, "agentId": agent_id, "removed": None}
        row = await self._sources.one(where)
        if row is None:
            raise absent()
        return row

    async def page(
        self, workspace: str, agent_id: str, before: str | None, limit: int
    ) -> tuple[list[Source], str | None]:
        """Newest first, and the id to continue from."""
        await self._require_agent(workspace, agent_id)
        where = {"workspace": workspace, "agentId": agent_id, "removed": None}
        rows, following = await self._sources.page(where, _IDS, "desc", before, limit)
        return [source_of(row) for row in rows], following

    async def counts(self, workspace: str, agent_id: str) -> SourceCounts:
        where = {"workspace": workspace, "agentId": agent_id, "removed": None}
        states = [row["state"] for row in await self._sources.many(where, fields={"state": 1})]
        return SourceCounts.model_validate({state: states.count(state) for state in set(states)})

    async def patch(self, workspace: str, agent_id: str, source_id: str, order: SourcePatch) -> Source:
        """A new address of a URL source is read at once. Raises `not_found`, `validation_failed`."""
        row = await self._row(workspace, agent_id, source_id)
        change: dict[str, Any] = {"updatedAt": datetime.now(UTC)}
        change |= order.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"actor"})
        if order.title is not None:
            change["isTitleGiven"] = bool(order.title)
        if order.url is not None and row["kind"] in READ_FROM_URL and order.url != row.get("url"):
            self._require_address(order.url)
            moved = NewSource(id=source_id, kind=row["kind"], url=order.url)
            change |= {"contentKey": content_key(moved, ""), "etag": None}
            change |= queued(datetime.now(UTC), traceparent())
        entry = audit_entry("knowledge.source_updated", source_id, order.actor, agent=agent_id, fields=sorted(change))
        try:
            await self._change(row, {"$set": change, "$push": {PENDING: entry}})
        except Duplicate:
            message = "Another source of this agent has this address."
            raise ApiError(Code.VALIDATION_FAILED, errors=[{"field": "url", "message": message}]) from None
        return await self.get(workspace, agent_id, source_id)

    async def retry(self, workspace: str, agent_id: str, source_id: str) -> Source:
        """Reads the source again, unless it waits or is being read."""
        row = await self._row(workspace, agent_id, source_id)
        now = datetime.now(UTC)
        change = {"$set": {**queued(now, traceparent()), "updatedAt": now}, "$unset": {"reason": ""}}
        await self._sources.update({"_id": row["_id"], "waiting": None, "removed": None}, change)
        return await self.get(workspace, agent_id, source_id)

    async def delete(self, workspace: str, agent_id: str, source_id: str, actor: str | None, *, purge: bool) -> None:
        """Gone from the draft at once. Published versions keep it, unless `purge`. May be repeated.

        Raises `agent_not_found`, `not_found` for a source that never was.
        """
        await self._require_agent(workspace, agent_id)
        row = await self._sources.one({"_id": source_id, "workspace": workspace, "agentId": agent_id})
        if row is None or (row.get("removed") and (row.get("purge") or not purge)):
            raise absent()
        action = "knowledge.source_purged" if purge else "knowledge.source_deleted"
        change: Document = {
            "$set": {"removed": True, "erasing": True, "updatedAt": datetime.now(UTC)},
            "$unset": OF_PRESENT,
            "$push": {PENDING: audit_entry(action, source_id, actor, agent=agent_id)},
        }
        if purge:
            change["$set"]["purge"] = True
        await self._change(row, change)
        await self._erasure.erase_unused(source_id)

    async def purge_of_agent(self, workspace: str, agent_id: str) -> None:
        """All sources of a deleted agent, which nobody could purge any more. The reconciler erases them.

        May be repeated. The agent's deletion is what the audit tells.
        """
        where = {"workspace": workspace, "agentId": agent_id, "purge": None}
        await self._sources.update_all(where, purged(datetime.now(UTC)))

    async def content(self, workspace: str, source_id: str) -> AsyncIterator[bytes]:
        """The bytes, for the worker. Raises `not_found`."""
        if await self._sources.one({"_id": source_id, "workspace": workspace}, {"_id": 1}) is None:
            raise absent()
        return self._blobs.read(blob_key(workspace, source_id))

    async def reconcile(self, limit: int = 100) -> None:
        """Goes on with deletions that were cut off, and delivers the audit entries that a killed process left."""
        await self._erasure.reconcile()
        for row in await self._sources.many({f"{PENDING}.id": above("")}, limit=limit):
            await self._audit.deliver(self._sources, row)

    async def erase_workspace(self, workspace: str) -> int:
        """Erases all content of a workspace, and returns how much there was. May be repeated."""
        ids = await self._blobs.of_workspace(workspace, ERASED_AT_ONCE)
        for blob_id in ids:
            await self._blobs.delete(blob_id)
        return len(ids)

    async def _change(self, row: Document, change: Document) -> None:
        await self._sources.update({"_id": row["_id"], "workspace": row["workspace"]}, change)
        if (changed := await self._sources.one({"_id": row["_id"]})) is not None:
            await self._audit.deliver(self._sources, changed)
