"""The search for what is left of knowledge, in a real store."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from bson import ObjectId
from pymongo import MongoClient

from tests.system.chaos.cluster import DATABASE, Cluster
from tests.system.chaos.events import Added, History, Removed, Removing
from tests.system.chaos.knowledge_rules import GONE, knowledge_faults
from tests.system.chaos.knowledge_stores import knowledge

MARK = "mark0123456789abcdef"


def leave(uri: str, *sources: str) -> None:
    """A database with nothing but the files that were uploaded for these sources."""
    client: MongoClient[dict[str, Any]] = MongoClient(uri)
    try:
        client.drop_database(DATABASE)
        for source in sources:
            blob, data = f"chaos:{source}", f"# About {MARK}".encode()
            client[DATABASE]["blobs.chunks"].insert_one({"_id": ObjectId(), "files_id": blob, "n": 0, "data": data})
    finally:
        client.close()


async def test_an_upload_that_was_cut_off_is_erased_as_histories_do_it_and_a_purged_file_is_a_violation(
    mongodb_uri: str,
) -> None:
    cluster = cast("Cluster", SimpleNamespace(reads_sources=True, mongodb_uri=mongodb_uri))
    await asyncio.to_thread(leave, mongodb_uri, "src_cut_off")
    (known,) = await knowledge(cluster, History(), 20.0)
    assert (known.blobs, known.found) == ({}, ())
    assert ["src_cut_off" in seen for seen in known.abandoned] == [True]

    await asyncio.to_thread(leave, mongodb_uri, "src_purged")
    purged = History(
        [
            Added(at=0.0, agent="agt_1", source="src_purged", mark=MARK),
            Removing(at=1.0, source="src_purged", purge=True),
            Removed(at=1.1, source="src_purged", purge=True, status=200, looked=404),
        ]
    )
    (known,) = await knowledge(cluster, purged, 0.0)
    assert known.found == (("blobs.chunks", "chaos:src_purged", MARK),)
    faults = list(knowledge_faults(History([*purged.events, known])))
    assert any(fault.rule == GONE and "src_purged is still the blob" in fault.seen for fault in faults)
