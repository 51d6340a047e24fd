"""The search indexes of versions: one document per set of passages, its files as blobs.

A version waits while it is `preparing` until its set's index is built, but not for ever: without an ingest worker, or
when the build is late, it is published, and the first worker that needs the index builds and stores it.
"""

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Final

from services.history.knowledge.blobs import BlobStore, blob_key
from services.history.knowledge.vector_rows import VectorRows
from services.history.knowledge.version_sources import set_key
from services.history.metrics import INDEX_BUILDS
from services.history.mongo.client import Database
from services.history.mongo.errors import Duplicate
from services.history.mongo.filters import Document, one_of
from shared.contracts.errors import ApiError, Code
from shared.contracts.indexes import CurrentSets, IndexPart, LookUpSets, VersionKnowledge
from shared.ids import new_id
from shared.knowledge_notices import KnowledgeNotices
from shared.log import get_logger

log = get_logger()

# A set of 20,000 passages takes seconds, its vectors some minutes.
BUILT_WITHIN: Final = timedelta(minutes=10)
GIVEN_UP_AFTER: Final = timedelta(hours=24)
MAX_PART: Final = 2 << 30
PAGE: Final = 100
_BLOB: Final = "idx"
_SET: Final = {"agent": 1, "number": 1, "sources": 1, "ownPassages": 1, "passageCount": 1, "knowledge": 1}


class VersionIndexes:
    def __init__(self, database: Database, blobs: BlobStore, notices: KnowledgeNotices, vectors: VectorRows) -> None:
        self._indexes = database.indexes
        self._versions = database.agent_versions
        self._agents = database.agents
        self._blobs = blobs
        self._notices = notices
        self._vectors = vectors

    # --- publishing

    async def is_ready(self, row: Document) -> bool:
        """For `Publishing`: False while the index of the version's set is being built, within a time limit."""
        key = set_key(row)
        if not key:
            return True
        found = await self._wanted(row, key)
        is_built = found.get("state") == "built"
        if found.get("waiting") and await self._is_in_time(found):
            return False
        mine = {"_id": row["_id"], "indexState": None}
        state = "built" if is_built else "first_use"
        if await self._versions.update(mine, {"$set": {"indexState": state, "indexKey": key}}) and not is_built:
            INDEX_BUILDS.labels("late").inc()
            log.warning("version_published_without_index", version=row["_id"])
        return True

    async def _is_in_time(self, found: Document) -> bool:
        return datetime.now(UTC) < found["createdAt"] + BUILT_WITHIN and await self._notices.has_builder()

    async def _wanted(self, row: Document, key: str) -> Document:
        """The set's document, which waits for an ingest worker if it is new."""
        (workspace, _, agent_id), now = row["agent"].partition(":"), datetime.now(UTC)
        new: Document = {
            "_id": f"{workspace}:{key}",
            "workspace": workspace,
            "agent": row["agent"],
            "agentId": agent_id,
            "key": key,
            "version": row["number"],
            "waiting": True,
            "dueAt": now,
            "deadlineAt": now + GIVEN_UP_AFTER,
            "attempt": 0,
            "tries": 0,
            "parts": {},
            "blobs": [],
            "createdAt": now,
            "traceparent": row.get("traceparent", ""),
        }
        if (found := await self._indexes.one({"_id": new["_id"]})) is not None:
            return found
        try:
            await self._indexes.insert(new)
        except Duplicate:
            return await self._indexes.one({"_id": new["_id"]}) or new
        # A purge may have changed the set since it was read, and may have looked for unused indexes already.
        if await self._set_of(row["_id"]) != key:
            await self.erase_unused(workspace, agent_id)
        return new

    async def _set_of(self, version_id: str) -> str:
        row = await self._versions.one({"_id": version_id}, _SET)
        return set_key(row) if row is not None else ""

    # --- workers

    async def knowledge(self, workspace: str, agent_id: str, number: int) -> VersionKnowledge:
        """Raises `agent_not_found`."""
        row = await self._versions.one({"_id": f"{workspace}:{agent_id}:{number}"}, _SET)
        if row is None:
            raise ApiError(Code.AGENT_NOT_FOUND)
        key = set_key(row)
        found = await self._indexes.one({"_id": f"{workspace}:{key}", "erasing": None}) if key else None
        if found is None:
            return VersionKnowledge(key=key)
        spaces = tuple(space for space, kept in found.get("vectors", {}).items() if kept["complete"])
        return VersionKnowledge(key=key, parts=found["parts"], vectors=spaces)

    async def current(self, order: LookUpSets) -> CurrentSets:
        names = [f"{each.workspace}:{each.agent_id}:{each.number}" for each in order.versions]
        rows = await self._versions.many({"_id": one_of(names)}, fields=_SET, limit=len(names)) if names else []
        keys = {row["_id"]: set_key(row) for row in rows}
        asked = list(order.keys)
        kept = await self._indexes.many({"key": one_of(asked), "erasing": None}, fields={"key": 1}) if asked else []
        return CurrentSets(
            versions=tuple(keys.get(name, "") for name in names), keys=tuple(sorted({row["key"] for row in kept}))
        )

    async def read(self, workspace: str, key: str, part: str) -> AsyncIterator[bytes]:
        """A part's bytes. Raises `not_found`."""
        found = await self._indexes.one({"_id": f"{workspace}:{key}", "erasing": None})
        if found is None or part not in found["parts"]:
            raise ApiError(Code.NOT_FOUND, "There is no such index.")
        return self._blobs.read(found["parts"][part]["blob"])

    async def store(
        self,
        workspace: str,
        agent_id: str,
        number: int,
        key: str,
        part: str,
        digest: str,
        content: AsyncIterator[bytes],
    ) -> IndexPart:
        """Keeps a part that a worker has built, or the one that is there already.

        Raises `not_found` when the version has another set, or its agent was deleted; `validation_failed` when the
        bytes have another digest.
        """
        found = await self.require(workspace, agent_id, number, key)
        if part in found["parts"]:
            return IndexPart.model_validate(found["parts"][part])
        blob, size = await self._put(content, digest, workspace)
        kept = {"blob": blob, "digest": digest, "size": size}
        where = {"_id": found["_id"], f"parts.{part}.blob": None, "erasing": None}
        change = {"$set": {f"parts.{part}": kept}, "$addToSet": {"blobs": kept["blob"]}}
        if not await self._indexes.update(where, change):
            await self._blobs.delete(blob)
        return IndexPart.model_validate(kept)

    async def require(self, workspace: str, agent_id: str, number: int, key: str) -> Document:
        """The set's document. Raises `not_found` when the version has another set, or its agent was deleted."""
        row = await self._versions.one({"_id": f"{workspace}:{agent_id}:{number}"}, _SET)
        agent = await self._agents.one({"_id": f"{workspace}:{agent_id}", "deleted": None}, {"_id": 1})
        if row is None or agent is None or set_key(row) != key:
            raise ApiError(Code.NOT_FOUND, "The version has another set of passages.")
        return await self._wanted(row, key)

    async def _put(self, content: AsyncIterator[bytes], digest: str, workspace: str) -> tuple[str, int]:
        """The blob's id and size. Each upload has a blob of its own, so no reader meets half of one."""
        blob, seen, size = blob_key(workspace, new_id(_BLOB)), hashlib.sha256(), 0

        async def counted() -> AsyncIterator[bytes]:
            nonlocal size
            async for piece in content:
                size += len(piece)
                if size > MAX_PART:
                    raise ApiError(Code.PAYLOAD_TOO_LARGE, f"An index may have at most {MAX_PART >> 20} MiB.")
                seen.update(piece)
                yield piece

        await self._blobs.put(blob, counted())
        if seen.hexdigest() != digest:
            await self._blobs.delete(blob)
            raise ApiError(Code.VALIDATION_FAILED, "The bytes do not have the digest that was given.")
        return blob, size

    # --- erasing

    async def renew(self, workspace: str, agent_id: str) -> None:
        """A source was purged: what was made of it goes, and the published version's index is built again."""
        agent = f"{workspace}:{agent_id}"
        await self.erase_unused(workspace, agent_id)
        row = await self._agents.one({"_id": agent, "deleted": None}, {"publishedVersion": 1})
        if row is not None and row.get("publishedVersion"):
            version = await self._versions.one({"_id": f"{agent}:{row['publishedVersion']}"}, _SET)
            if version is not None and (key := set_key(version)):
                await self._wanted(version, key)

    async def erase_unused(self, workspace: str, agent_id: str) -> None:
        """Erases the indexes of sets that no version of the agent has; of a deleted agent, all. May be repeated.

        The indexes are read before the versions: a version's set is stored before its index is wanted.
        """
        agent = f"{workspace}:{agent_id}"
        found = await self._indexes.many({"agent": agent}, fields={"key": 1})
        if found:
            is_there = await self._agents.one({"_id": agent, "deleted": None}, {"_id": 1}) is not None
            versions = await self._versions.many({"agent": agent}, fields=_SET) if is_there else []
            kept = {set_key(version) for version in versions}
            for row in found:
                if row["key"] not in kept:
                    await self._erase(row["_id"])
        await self._notices.publish(workspace, agent_id)

    async def _erase(self, index_id: str) -> None:
        await self._indexes.update(
            {"_id": index_id}, {"$set": {"erasing": True}, "$unset": {"waiting": "", "dueAt": ""}}
        )
        row = await self._indexes.one({"_id": index_id})
        for blob in row["blobs"] if row is not None else ():
            await self._blobs.delete(blob)
        await self._vectors.erase(index_id)
        await self._indexes.delete({"_id": index_id})

    async def erase_abandoned(self, blob_id: str) -> None:
        """A blob whose upload's process died before its index named it."""
        workspace = blob_id.partition(":")[0]
        if await self._indexes.one({"workspace": workspace, "blobs": blob_id}, {"_id": 1}) is None:
            await self._blobs.delete(blob_id)

    async def reconcile(self) -> None:
        """Goes on with erasures that were cut off."""
        for row in await self._indexes.many({"erasing": True}, fields={"_id": 1}, limit=PAGE):
            await self._erase(row["_id"])


def is_index_blob(blob_id: str) -> bool:
    return blob_id.partition(":")[2].startswith(f"{_BLOB}_")
