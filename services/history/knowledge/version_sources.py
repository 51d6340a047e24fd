"""The set of sources that a version is frozen with, and what the draft knows now."""

import hashlib
from typing import Final

import orjson

from services.history.knowledge.passages import Passages
from services.history.knowledge.source_documents import entry_of, passages_owner
from services.history.mongo.client import Database
from services.history.mongo.filters import Document
from shared.contracts.agents import Passage
from shared.contracts.knowledge import SourceText, VersionSource

ROUNDS: Final = 10
# Some two megabytes of text.
MAX_TEXT_PASSAGES: Final = 2_000
_FIELDS: Final = {
    "workspace": 1,
    "title": 1,
    "url": 1,
    "currentAttempt": 1,
    "passageCount": 1,
    "stale": 1,
    "waiting": 1,
    "createdAt": 1,
}


class VersionSources:
    def __init__(self, database: Database, passages: Passages) -> None:
        self._sources = database.sources
        self._versions = database.agent_versions
        self._passages = passages

    async def draft_set(self, workspace: str, agent_id: str) -> list[Document]:
        """What a version would hold that is published now."""
        return _readable(await self._living(workspace, agent_id))

    async def draft_digest(self, workspace: str, agent_id: str) -> str | None:
        """That of the set; None while a source has never been read and waits for it."""
        living = await self._living(workspace, agent_id)
        if any(source.get("waiting") and not source.get("currentAttempt") for source in living):
            return None
        return digest_of(_readable(living))

    async def _living(self, workspace: str, agent_id: str) -> list[Document]:
        where = {"workspace": workspace, "agentId": agent_id, "removed": None}
        return await self._sources.many(where, fields=_FIELDS, order=[("_id", 1)])

    async def frozen(self, row: Document) -> Document | None:
        """The version with its sources. None: a source that was added before the publishing is still being read."""
        if row.get("sourcesDigest") is None and "sourcesFrozen" not in row:
            return row  # Published before sources existed.
        workspace, agent_id, _ = row["_id"].split(":")
        for _ in range(ROUNDS):
            living = await self._living(workspace, agent_id)
            if row["sourcesFrozen"] and _are_there(row["sources"], living):
                return row
            if any(source.get("waiting") and source["createdAt"] <= row["createdAt"] for source in living):
                return None
            row = await self._write(row, _readable(living))
        return None

    async def _write(self, row: Document, entries: list[Document]) -> Document:
        change = {
            "sources": entries,
            "sourceIds": [entry["id"] for entry in entries],
            "sourcesDigest": digest_of(entries),
            "sourcesFrozen": True,
            "passageCount": row["ownPassages"] + sum(entry["count"] for entry in entries),
        }
        where = {"_id": row["_id"], "state": "preparing", "sourcesDigest": row.get("sourcesDigest")}
        await self._versions.update(where, {"$set": change})
        return await self._versions.one({"_id": row["_id"]}) or row

    async def passages(self, entries: list[Document]) -> list[Passage]:
        """The passages of a set, with the titles and addresses that it was frozen with."""
        found: list[Passage] = []
        for entry in entries:
            for passage in await self._passages.read(entry["owner"], entry["count"]):
                named = {"title": passage.title or entry["title"], "url": passage.url or entry.get("url")}
                found.append(passage.model_copy(update=named))
        return found

    async def text(self, entry: Document) -> SourceText | None:
        """The source's passages in their order, each below the headings that it stands under. None: it was purged."""
        passages = await self._passages.read(entry["owner"], min(entry["count"], MAX_TEXT_PASSAGES))
        del passages[MAX_TEXT_PASSAGES:]  # They are read in pages.
        if not passages:
            return None
        parts: list[str] = []
        heading = None
        for passage in passages:
            if passage.heading != heading and passage.heading:
                parts.append(passage.heading)
            heading = passage.heading
            parts.append(passage.text)
        return SourceText(source=source_of(entry), text="\n\n".join(parts), is_cut=entry["count"] > MAX_TEXT_PASSAGES)


def source_of(entry: Document) -> VersionSource:
    return VersionSource(id=entry["id"], title=entry["title"], url=entry.get("url"), passages=entry["count"])


def own_passages(row: Document) -> tuple[int, str]:
    """How many passages a version has of its operator, and under which name they are stored."""
    count = row["ownPassages"] if "ownPassages" in row else row["passageCount"]
    return int(count), f"{row['agent']}:{row.get('knowledge', row['number'])}"


def set_key(row: Document) -> str:
    """What a version's passages are known by: equal sets have one key, and no other workspace has it.

    Empty without passages. A version that is being prepared has its key once its sources are frozen.
    """
    count, owner = own_passages(row)
    entries = row.get("sources") or []
    if not count and not entries:
        return ""
    members = [owner if count else "", count, entries]
    return hashlib.sha256(orjson.dumps(members, option=orjson.OPT_SORT_KEYS)).hexdigest()


def digest_of(entries: list[Document]) -> str:
    """What makes two sets the same. Empty for an empty set, as versions have it that are older than sources."""
    return hashlib.sha256(orjson.dumps(entries, option=orjson.OPT_SORT_KEYS)).hexdigest() if entries else ""


def _readable(living: list[Document]) -> list[Document]:
    return [entry_of(source) for source in living if source.get("currentAttempt")]


def _are_there(entries: list[Document], living: list[Document]) -> bool:
    """Whether nothing of the set has been erased, or may be: see `source_erasure.py`."""
    kept = {
        passages_owner(source, attempt)
        for source in living
        for attempt in (source.get("currentAttempt"), *source.get("stale", ()))
        if attempt
    }
    return all(entry["owner"] in kept for entry in entries)
