"""What MongoDB has of knowledge at the end of a run, as plain data; and the wait until nothing changes any more."""

import asyncio
import re
import time
from collections import defaultdict
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.database import Database as PlainDatabase

from services.history.knowledge.abandoned import AbandonedKnowledge
from services.history.knowledge.passages import Passages
from services.history.knowledge.vector_rows import VectorRows
from services.history.knowledge.version_indexes import VersionIndexes
from services.history.knowledge.version_sources import own_passages, set_key
from services.history.mongo.client import Database
from shared.contracts.errors import ApiError
from shared.knowledge_notices import KnowledgeNotices
from tests.system.chaos.cluster import DATABASE, Cluster
from tests.system.chaos.events import History, Knowledge
from tests.system.chaos.knowledge_rules import LEFT, knowledge_faults

Rows = tuple[dict[str, Any], ...]
PREPARED_WITHIN_S: Final = 20.0
_MARK: Final = re.compile(rb"mark[0-9a-f]{16}")
_SOURCE: Final = (
    "workspace agentId title state reason removed purge waiting erasing attempt currentAttempt passageCount contentKey"
).split()


async def knowledge(cluster: Cluster, history: History, patience_s: float) -> list[Knowledge]:
    """Once nothing is wrong with it; after `patience_s`, as it is. Nothing of a run without an author.

    What is erased only an hour after a history was killed is erased here: nothing is uploaded any more.
    """
    if not cluster.reads_sources:
        return []
    deadline = time.monotonic() + patience_s
    abandoned: tuple[str, ...] = ()
    while True:
        found = await asyncio.to_thread(_read, cluster.mongodb_uri, abandoned)
        faults = list(knowledge_faults(History([*history.events, found])))
        if not faults or time.monotonic() > deadline:
            return [found]
        if not abandoned and {fault.rule for fault in faults} == {LEFT}:
            with suppress(ApiError, TimeoutError):  # The stand-in may be busy: then the next round does it.
                await _erase_abandoned(cluster.mongodb_uri)
                abandoned = tuple(fault.seen for fault in faults)
        await asyncio.sleep(1.0)


async def _erase_abandoned(uri: str) -> None:
    """As every history does it."""
    async with asyncio.timeout(PREPARED_WITHIN_S), Database(uri, DATABASE) as database:
        while not database.availability.prepared:
            await asyncio.sleep(0.1)
        vectors = VectorRows(database)
        indexes = VersionIndexes(database, database.blobs, cast("KnowledgeNotices", None), vectors)
        abandoned = AbandonedKnowledge(database, Passages(database), database.blobs, indexes, vectors)
        await abandoned.erase(datetime.now(UTC) + timedelta(seconds=5))


def _read(uri: str, abandoned: tuple[str, ...]) -> Knowledge:
    client: MongoClient[dict[str, Any]] = MongoClient(uri, serverSelectionTimeoutMS=10_000)
    try:
        database = client[DATABASE]
        return Knowledge(
            sources=_sources(database),
            versions=_versions(database),
            indexes=_indexes(database),
            passages=_passages(database),
            blobs=_blobs(database),
            vectors=_vectors(database),
            audited=_audited(database),
            found=_found(database),
            abandoned=abandoned,
        )
    finally:
        client.close()


def _sources(database: PlainDatabase[dict[str, Any]]) -> Rows:
    """`unaudited`: how many entries still wait."""
    return tuple(
        {"id": row["_id"], "unaudited": len(row.get("unaudited", ())), **{name: row.get(name) for name in _SOURCE}}
        for row in database["sources"].find({})
    )


def _versions(database: PlainDatabase[dict[str, Any]]) -> Rows:
    """`key`: of the version's set of passages; `own`: how many are its operator's, under the name `owner`."""
    rows = []
    for row in database["agent_versions"].find({}):
        own, owner = own_passages(row)
        entries = [{name: entry[name] for name in ("id", "owner", "count")} for entry in row.get("sources") or ()]
        rows.append(
            {
                "id": row["_id"],
                "agent": row["agent"],
                "state": row.get("state", "published"),
                "key": set_key(row),
                "own": own,
                "owner": owner,
                "count": row["passageCount"],
                "sources": entries,
                "ids": list(row.get("sourceIds") or ()),
            }
        )
    return tuple(rows)


def _indexes(database: PlainDatabase[dict[str, Any]]) -> Rows:
    """`builds`: those of its vectors."""
    return tuple(
        {
            "id": row["_id"],
            "agent": row["agent"],
            "key": row["key"],
            "blobs": list(row["blobs"]),
            "waiting": bool(row.get("waiting")),
            "builds": [each["build"] for each in row.get("vectors", {}).values()],
        }
        for row in database["indexes"].find({})
    )


def _passages(database: PlainDatabase[dict[str, Any]]) -> dict[str, tuple[int, ...]]:
    found: defaultdict[str, list[int]] = defaultdict(list)
    for row in database["passages"].find({}, {"version": 1, "position": 1}):
        found[row["version"]].append(row["position"])
    return {owner: tuple(sorted(positions)) for owner, positions in found.items()}


def _blobs(database: PlainDatabase[dict[str, Any]]) -> dict[str, tuple[int | None, int]]:
    sizes = {row["_id"]: row["length"] for row in database["blobs.files"].find({}, {"length": 1})}
    there: defaultdict[str, int] = defaultdict(int)
    for row in database["blobs.chunks"].find({}):
        there[row["files_id"]] += len(row["data"])
    return {blob: (sizes.get(blob), there[blob]) for blob in [*sizes, *there]}


def _vectors(database: PlainDatabase[dict[str, Any]]) -> tuple[str, ...]:
    return tuple({row["_id"].rpartition(":")[0] for row in database["vectors"].find({}, {"_id": 1})})


def _audited(database: PlainDatabase[dict[str, Any]]) -> dict[str, tuple[str, ...]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for row in database["audit"].find({}, {"target": 1, "action": 1}):
        found[row["target"]].append(row["action"])
    return {target: tuple(actions) for target, actions in found.items() if target.startswith("src_")}


def _found(database: PlainDatabase[dict[str, Any]]) -> tuple[tuple[str, str, str], ...]:
    """In the bytes of every document of every collection. A chunk is named after its blob."""
    found = set()
    raw = database.codec_options.with_options(document_class=RawBSONDocument)
    for name in database.list_collection_names():
        rows: Collection[Any] = database.get_collection(name, raw)
        for row in rows.find({}):
            for mark in set(_MARK.findall(row.raw)):
                found.add((name, str(row.get("files_id", row["_id"])), mark.decode()))
    return tuple(sorted(found))
