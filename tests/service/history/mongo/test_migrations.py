"""Schema versions: documents of earlier releases are migrated when they are read, and indexes at start."""

from typing import Any
from uuid import uuid4

import pytest
from pymongo import AsyncMongoClient

from services.history.mongo import migrations
from services.history.mongo.indexes import INDEXES, RETIRED
from tests.conftest import eventually
from tests.service.history.conftest import is_ready
from tests.service.history.mongo.test_dialects import opened
from tests.service.history.running import WORKSPACE, History, running, settings_for

NAMED = "sessions"


def with_title(document: dict[str, Any]) -> dict[str, Any]:
    """A step as a later release might have it. It accepts a projection without the member that it changes."""
    return {("title" if name == "name" else name): value for name, value in document.items()}


async def test_every_new_document_carries_its_schema_version(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    await history.answer(session_id)
    for collection in ("turns", "sessions", "agents", "agent_versions"):
        (document, *_) = await history.documents[collection].find({}).to_list(None)
        assert document["schemaVersion"] == 1, collection


async def test_a_document_of_an_earlier_version_is_migrated_when_it_is_read(
    mongodb_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"test_{uuid4().hex}"
    async with opened(mongodb_uri, name) as database:
        await database.sessions.insert({"_id": "ses_1", "workspace": WORKSPACE, "name": "Old", "status": "active"})
    monkeypatch.setitem(migrations.STEPS, NAMED, (*migrations.STEPS[NAMED], with_title))
    async with opened(mongodb_uri, name) as database:
        await database.sessions.insert({"_id": "ses_2", "workspace": WORKSPACE, "title": "New", "status": "active"})
        old = await database.sessions.one({"_id": "ses_1"})
        assert (old["title"], old["schemaVersion"], "name" in old) == ("Old", 2, False)
        assert {row["title"] for row in await database.sessions.many({"workspace": WORKSPACE})} == {"Old", "New"}
        part = await database.sessions.one({"_id": "ses_1"}, {"status": 1})
        assert (part["status"], part["schemaVersion"]) == ("active", 2)


async def test_a_document_of_a_newer_version_is_used_as_it_is(mongodb_uri: str) -> None:
    async with opened(mongodb_uri, f"test_{uuid4().hex}") as database:
        newer = {"_id": "ses_1", "workspace": WORKSPACE, "schemaVersion": 9, "unheardOf": True}
        await database.sessions.insert(newer)
        assert await database.sessions.one({"_id": "ses_1"}) == newer


async def test_documents_from_before_schema_versions_are_served(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    turn_id = await history.answer(session_id)
    for collection in ("turns", "sessions", "agents", "agent_versions"):
        unset: Any = {"$unset": {"schemaVersion": ""}}
        await history.documents[collection].update_many({}, unset)
    assert (await history.client.session(WORKSPACE, session_id)).turn_count == 1
    assert (await history.client.turn(WORKSPACE, turn_id)).turn.status == "completed"
    await history.answer(session_id)


async def test_indexes_of_earlier_code_are_replaced_at_start(mongodb_uri: str, redis_url: str) -> None:
    """The old ones hold until the new ones stand."""
    settings = settings_for(mongodb_uri, redis_url)
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(mongodb_uri)
    turns, sessions = (client[settings.mongodb_database][name] for name in ("turns", "sessions"))
    try:
        await sessions.create_index([("workspace", 1), ("id", 1)], unique=True)
        await turns.create_index(
            [("workspace", 1), ("sessionId", 1), ("n", 1)],
            unique=True,
            partialFilterExpression={"sessionId": {"$gt": ""}},
        )
        await sessions.insert_one({"_id": "ses_1", "id": "ses_1", "workspace": WORKSPACE, "status": "active"})
        async with running(settings) as history:
            await eventually(lambda: is_ready(history), within_s=20.0, what="a ready history")
            await history.publish()
            for _ in range(2):  # Two sessions without `id`: the old unique index would refuse the second.
                await history.answer(await history.session())
        for collection in (turns, sessions):
            existing = set(await collection.index_information())
            assert not existing & set(RETIRED[collection.name])
            assert len(existing) == len(INDEXES[collection.name]) + 1
    finally:
        await client.close()
