"""Previews: a gateway's request, answered by a worker with the retrieval of turns."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.agent_worker.knowledge.fts5 import Fts5Retriever
from services.agent_worker.knowledge.retriever import VersionKey
from services.agent_worker.turns.previews import PreviewServer
from shared.contracts.agent_records import DraftPatch
from shared.contracts.agents import Passage
from shared.contracts.errors import ApiError, Code
from shared.contracts.previews import KnowledgePreview, PreviewOrder
from shared.ids import new_id
from shared.previews.exchange import MOST_WAITING, PreviewExchange
from tests.service.history.conftest import history
from tests.service.history.knowledge.conftest import knowledge
from tests.service.history.knowledge.sources import Knowledge
from tests.service.history.running import WORKSPACE

__all__ = ["history", "knowledge"]


@asynccontextmanager
async def exchange(knowledge: Knowledge) -> AsyncIterator[PreviewExchange]:
    made = PreviewExchange(knowledge.history.dependencies.settings.queue_redis_url)
    try:
        yield made
    finally:
        await made.aclose()


@asynccontextmanager
async def worker(knowledge: Knowledge, directory: Path) -> AsyncIterator[None]:
    client = knowledge.history.client

    async def load(version: VersionKey) -> list[Passage]:
        return await client.passages(*version[:3])

    retriever = Fts5Retriever(load, directory)
    server = PreviewServer(client, retriever, PreviewExchange(knowledge.history.dependencies.settings.queue_redis_url))
    server.start()
    try:
        yield
    finally:
        await server.close()
        await retriever.close()


def order(knowledge: Knowledge, query: str, version: int = 0, within_s: float = 20.0) -> PreviewOrder:
    return PreviewOrder(
        id=new_id("req"),
        workspace=WORKSPACE,
        agent_id=knowledge.agent_id,
        version=version,
        query=query,
        top_k=4,
        deadline_ms=int((time.time() + within_s) * 1000),
    )


async def previewed(knowledge: Knowledge, query: str, version: int = 0) -> KnowledgePreview:
    async with exchange(knowledge) as asking:
        return await asking.ask(order(knowledge, query, version))


async def test_a_draft_is_previewed_with_what_found_each_passage_and_the_prompts_part(
    knowledge: Knowledge, tmp_path: Path
) -> None:
    await knowledge.ended(await knowledge.text("The garden opens at nine.", title="Hours"))
    async with worker(knowledge, tmp_path):
        found = await previewed(knowledge, "When does the garden open?")
        (passage,) = found.passages
        assert (passage.title, passage.legs, passage.marker, passage.used) == ("Hours", ("words",), 1, True)
        assert '<passage number="1" title="Hours">The garden opens at nine.</passage>' in found.prompt
        misspelt = await previewed(knowledge, "gardne")
        assert [each.legs for each in misspelt.passages] == [("trigrams",)]


async def test_a_version_is_previewed_with_its_own_sources(knowledge: Knowledge, tmp_path: Path) -> None:
    await knowledge.ended(await knowledge.text("The garden opens at nine."))
    version = await knowledge.publish()
    await knowledge.ended(await knowledge.text("The garden closes at six."))
    async with worker(knowledge, tmp_path):
        published = await previewed(knowledge, "garden", version.number)
        assert [each.text for each in published.passages] == ["The garden opens at nine."]
        assert len((await previewed(knowledge, "garden")).passages) == 2


async def test_passages_below_the_agents_least_score_are_shown_as_not_used(
    knowledge: Knowledge, tmp_path: Path
) -> None:
    await knowledge.ended(await knowledge.text("The garden opens at nine."))
    patch = DraftPatch(patch={"knowledge": {"minScore": 1.01}})
    await knowledge.history.client.patch_draft(WORKSPACE, knowledge.agent_id, patch)
    async with worker(knowledge, tmp_path):
        found = await previewed(knowledge, "garden")
        assert [each.used for each in found.passages] == [False]
        assert found.prompt == ""


async def test_a_request_that_no_worker_answers_ends_with_a_text_that_says_so(knowledge: Knowledge) -> None:
    async with exchange(knowledge) as asking:
        with pytest.raises(ApiError) as caught:
            await asking.ask(order(knowledge, "garden", within_s=0.2))
    assert caught.value.code is Code.DEPENDENCY_UNAVAILABLE
    assert "No worker answered" in caught.value.detail


async def test_requests_beyond_the_bound_are_refused_at_once(knowledge: Knowledge) -> None:
    async with exchange(knowledge) as asking:
        waiting = [
            asyncio.create_task(asking.ask(order(knowledge, "garden", within_s=0.1))) for _ in range(MOST_WAITING)
        ]
        await asyncio.wait(waiting)
        assert all(task.exception() is not None for task in waiting)
        with pytest.raises(ApiError) as caught:
            await asking.ask(order(knowledge, "garden"))
    assert caught.value.code is Code.OVERLOADED
