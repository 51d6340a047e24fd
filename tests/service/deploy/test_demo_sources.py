"""The demo agent's documents as sources: added once, read at once, published as they are."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from deploy.demo.agent import AGENT_ID, WORKSPACE, demo_config, demo_documents
from deploy.local import demo_sources
from deploy.local.demo_sources import add_demo_sources
from shared.contracts.knowledge import NewSource
from tests.conftest import eventually
from tests.service.history.conftest import is_ready
from tests.service.history.databases import empty_database
from tests.service.history.running import History, running, settings_for

IDS = {document.order.id for document in demo_documents()}


@pytest.fixture
async def history(mongodb_uri: str, redis_url: str) -> AsyncIterator[History]:
    async with (
        empty_database(mongodb_uri) as name,
        running(settings_for(mongodb_uri, redis_url, mongodb_database=name)) as started,
    ):
        await eventually(lambda: is_ready(started), within_s=20.0, what="a ready history")
        await started.client.put_agent(WORKSPACE, AGENT_ID, demo_config("http://127.0.0.1:8090"))
        yield started


async def listed(history: History) -> list[dict[str, Any]]:
    page = await history.client.source_list(WORKSPACE, AGENT_ID, {"limit": "200"})
    return list(page["items"])


async def test_the_documents_are_listed_read_and_published_once(history: History) -> None:
    await add_demo_sources(history.client)
    first = await history.client.publish_agent(WORKSPACE, AGENT_ID, ())
    assert {(each["id"], each["state"]) for each in await listed(history)} == {(name, "indexed") for name in IDS}
    before = await listed(history)
    await add_demo_sources(history.client)
    again = await history.client.publish_agent(WORKSPACE, AGENT_ID, ())
    assert (again.number, await listed(history)) == (first.number, before)
    record = await history.client.version_record(WORKSPACE, AGENT_ID, first.number)
    passages = [passage for document in demo_documents() for passage in document.passages]
    assert record.passage_count == len(passages)
    stored = [row["text"] async for row in history.documents.passages.find({}, {"text": 1})]
    assert sorted(stored) == sorted(passage.text for passage in passages)


async def test_a_start_after_a_killed_one_reads_what_that_had_claimed(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    for document in demo_documents()[:2]:
        await history.client.create_source(WORKSPACE, AGENT_ID, document.order)
    assert await history.client.claim_source(0.5) is not None
    monkeypatch.setattr(demo_sources, "LOOK_S", 0.02)
    await add_demo_sources(history.client)
    assert {(each["id"], each["state"]) for each in await listed(history)} == {(name, "indexed") for name in IDS}


async def test_a_source_of_somebody_else_is_left_to_the_ingest_workers(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = NewSource(id="src_01kb3c9w6n8r2t4v6x8z0b2d4f", kind="text", title="Mine", content="My own text.")
    await history.client.create_source(WORKSPACE, AGENT_ID, own)
    monkeypatch.setattr(demo_sources, "LOOK_S", 0.02)
    await add_demo_sources(history.client)
    states = {each["id"]: each["state"] for each in await listed(history)}
    assert states == {own.id: "pending"} | dict.fromkeys(IDS, "indexed")
    assert (await history.documents.sources.find_one({"_id": own.id}))["tries"] == 0


async def test_a_demo_source_that_somebody_deleted_stays_deleted(history: History) -> None:
    await add_demo_sources(history.client)
    await history.client.publish_agent(WORKSPACE, AGENT_ID, ())
    gone = min(IDS)
    await history.client.delete_source(WORKSPACE, AGENT_ID, gone, None)
    await add_demo_sources(history.client)
    assert {each["id"] for each in await listed(history)} == IDS - {gone}
