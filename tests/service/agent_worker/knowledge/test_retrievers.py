"""What every retriever promises, whatever finds its passages."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from qdrant_client import AsyncQdrantClient

from services.agent_worker.knowledge.endpoints import Embeddings
from services.agent_worker.knowledge.fts5 import Fts5Retriever
from services.agent_worker.knowledge.history_vectors import HistoryVectors
from services.agent_worker.knowledge.hybrid import HybridRetriever
from services.agent_worker.knowledge.qdrant import QdrantVectors, qdrant_vectors
from services.agent_worker.knowledge.retriever import Retriever, VersionKey
from services.agent_worker.knowledge.vector_index import VectorIndex
from services.agent_worker.knowledge.vector_store import VectorStore
from shared.contracts.agents import Passage
from tests.conftest import eventually
from tests.service.agent_worker.knowledge.keyed import Keyed
from tests.service.agent_worker.knowledge.model_endpoints import model_endpoints
from tests.service.history.conftest import is_ready
from tests.service.history.mongo.vector_server import searching
from tests.service.history.running import History, running, settings_for

KEY = VersionKey("acme", "agt_1", 1)
PASSAGES = [
    Passage(id="psg_1", source_id="src_1", title="Opening hours", text="We are open daily from 11 am.", page=3),
    Passage(
        id="psg_2", source_id="src_2", title="Delivery", text="We deliver to 80202.", url="https://pizza.example/d"
    ),
    Passage(id="psg_3", source_id="src_3", title="Menu", heading="Food > Pizza", text="Margherita and Diavola."),
]
Make = Callable[[Callable[[VersionKey], Awaitable[list[Passage]]]], Awaitable[Retriever]]


# Qdrant's client says so of the Qdrant in this process that the tests use.
pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")


KINDS = ["words", "hybrid", "hybrid, endpoint down", "qdrant", "qdrant down", "mongodb"]
SLOW = [pytest.param("mongodb without search", marks=pytest.mark.long)]


@pytest.fixture(params=[*KINDS, *SLOW])
async def make(request: pytest.FixtureRequest, tmp_path: Path, mongodb_uri: str, redis_url: str) -> AsyncIterator[Make]:
    async with AsyncExitStack() as stack:
        endpoints = await stack.enter_async_context(model_endpoints())
        endpoints.status = 503 if request.param == "hybrid, endpoint down" else 200
        vectors: VectorIndex | None = None
        history: History | None = None
        if request.param == "qdrant":
            vectors = QdrantVectors(AsyncQdrantClient(":memory:"), "m")
        elif request.param == "qdrant down":
            vectors = qdrant_vectors("http://127.0.0.1:1", "", "m")
        elif request.param.startswith("mongodb"):
            history = await stack.enter_async_context(running(settings_for(mongodb_uri, redis_url)))
            await eventually(lambda: is_ready(history), what="a ready history")
            if request.param == "mongodb":
                searching(history.dependencies.database)
            vectors = HistoryVectors(history.client, "m")

        async def retriever(load: Callable[[VersionKey], Awaitable[list[Passage]]]) -> Retriever:
            made: Retriever = Fts5Retriever(load, tmp_path)
            if request.param != "words":
                made = HybridRetriever(
                    made, Embeddings(endpoints.base_url, "m"), VectorStore(tmp_path, "m"), load, vectors=vectors
                )
            stack.push_async_callback(made.close)
            return Keyed(made, history) if history is not None else made

        yield retriever


async def nothing_stored(version: VersionKey) -> list[Passage]:
    return []


async def test_published_passages_are_found_whole_and_best_first(make: Make) -> None:
    retriever = await make(nothing_stored)
    await retriever.publish(KEY, PASSAGES)
    passages = await retriever.search(KEY, "Do you deliver, and are you open daily from 11?", 4)
    assert {passage.id for passage in passages} >= {"psg_1", "psg_2"}
    by_id = {passage.id: passage for passage in PASSAGES}
    for passage in passages:
        assert passage.model_dump(exclude={"score", "marker"}) == by_id[passage.id].model_dump()
        assert passage.score > 0
    scores = [passage.score for passage in passages]
    assert scores == sorted(scores, reverse=True)


async def test_no_more_than_asked_for_is_found(make: Make) -> None:
    retriever = await make(nothing_stored)
    await retriever.publish(KEY, PASSAGES)
    assert len(await retriever.search(KEY, "open deliver Margherita", 1)) == 1
    assert await retriever.search(KEY, "open", 0) == []
    assert await retriever.search(KEY, "  ", 4) == []


async def test_a_version_that_was_not_published_is_loaded(make: Make) -> None:
    async def load(version: VersionKey) -> list[Passage]:
        return PASSAGES

    assert [passage.id for passage in await (await make(load)).search(KEY, "Margherita", 4)] == ["psg_3"]


async def test_publishing_may_be_repeated(make: Make) -> None:
    retriever = await make(nothing_stored)
    await retriever.publish(KEY, PASSAGES)
    await retriever.publish(KEY, PASSAGES)
    assert [passage.id for passage in await retriever.search(KEY, "Margherita", 4)] == ["psg_3"]


async def test_versions_and_workspaces_are_apart(make: Make) -> None:
    retriever = await make(nothing_stored)
    await retriever.publish(KEY, PASSAGES)
    for other in (VersionKey("other", "agt_1", 1), VersionKey("acme", "agt_1", 2), VersionKey("acme", "agt_2", 1)):
        assert await retriever.search(other, "Margherita", 4) == []


async def test_a_published_version_has_no_passage_of_another(make: Make) -> None:
    retriever = await make(nothing_stored)
    await retriever.publish(KEY, PASSAGES)
    # Words and vectors of the query agree with a passage that only the first version has.
    for other in (VersionKey("other", "agt_1", 1), VersionKey("acme", "agt_1", 2), VersionKey("acme", "agt_2", 1)):
        await retriever.publish(other, PASSAGES[1:])
        assert "psg_1" not in {passage.id for passage in await retriever.search(other, "opening hours, deliver", 4)}
    assert "psg_1" in {passage.id for passage in await retriever.search(KEY, "opening hours, deliver", 4)}


async def test_a_dropped_version_is_not_found(make: Make) -> None:
    retriever = await make(nothing_stored)
    await retriever.publish(KEY, PASSAGES)
    await retriever.drop(KEY)
    await retriever.drop(KEY)
    assert await retriever.search(KEY, "Margherita", 4) == []


async def test_a_draft_is_loaded_for_every_search(make: Make) -> None:
    stored = list(PASSAGES)

    async def load(version: VersionKey) -> list[Passage]:
        return stored

    retriever, draft = await make(load), VersionKey("acme", "agt_1", 0)
    assert [passage.id for passage in await retriever.search(draft, "Margherita", 4)] == ["psg_3"]
    stored.pop()
    assert await retriever.search(draft, "Margherita", 4) == []
