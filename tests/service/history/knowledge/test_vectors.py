"""Vectors that history keeps in MongoDB: complete or not searched, fenced, erased; and a MongoDB without search."""

import asyncio
from base64 import b64encode
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from services.agent_worker.knowledge.endpoints import Embeddings, EndpointFault
from services.agent_worker.knowledge.fts5 import Fts5Retriever
from services.agent_worker.knowledge.history_vectors import HistoryVectors
from services.agent_worker.knowledge.hybrid import HybridRetriever
from services.agent_worker.knowledge.retriever import VersionKey
from services.agent_worker.knowledge.vector_store import VectorStore, space_of
from services.agent_worker.metrics import RETRIEVAL_LEG_FAULTS
from services.history.erasures import receipts
from services.history.metrics import VECTOR_SEARCHES_REFUSED
from shared.contracts.agents import Passage
from shared.contracts.errors import ApiError, Code
from shared.contracts.vectors import MAX_BATCH, BeginVectors, SearchVectors, StoredVector, VectorBatch
from tests.service.agent_worker.knowledge.model_endpoints import model_endpoints
from tests.service.history.conftest import history
from tests.service.history.mongo.vector_server import VectorServer, searching
from tests.service.history.running import WORKSPACE, History, config
from tests.service.history.workspaces.test_workspaces import deleted

__all__ = ["history"]
SPACE = space_of("m")
AGENT = "agt_demo"


@pytest.fixture
def server(history: History) -> VectorServer:
    return searching(history.dependencies.database)


async def published(history: History, count: int = 3) -> tuple[VersionKey, list[Passage]]:
    await history.client.put_agent(WORKSPACE, AGENT, config())
    texts = ["Every automobile needs a ticket.", "We send the money back.", "The shop is open from nine."]
    texts += [f"text {number}" for number in range(3, count)]
    passages = [
        Passage(id=f"psg_{at}", source_id=f"src_{at}", title="", text=text) for at, text in enumerate(texts[:count])
    ]
    number = (await history.client.publish_agent(WORKSPACE, AGENT, passages)).number
    key = (await history.client.version_knowledge(WORKSPACE, AGENT, number)).key
    return VersionKey(WORKSPACE, AGENT, number, key), passages


def rows(count: int, dimensions: int = 4) -> "np.typing.NDArray[np.float32]":
    return np.eye(count, dimensions, dtype=np.float32)


async def left(history: History) -> int:
    return len(await history.documents.vectors.find({}).to_list(None))


def batch(version: VersionKey, build: str, *, last: bool = True) -> VectorBatch:
    vector = b64encode(rows(1).tobytes()).decode()
    passage = Passage(id="psg_9", source_id="src_9", title="", text="late")
    stored = (StoredVector(passage=passage, vector=vector),)
    return VectorBatch(key=version.knowledge, build=build, start=0, rows=stored, last=last)


async def test_another_worker_finds_by_vectors_what_one_has_stored_and_embeds_no_passage(
    history: History, server: VectorServer, tmp_path: Path
) -> None:
    version, passages = await published(history)

    async def load(version: VersionKey) -> list[Passage]:
        return passages

    async with model_endpoints() as endpoints:
        one, two = (
            HybridRetriever(
                Fts5Retriever(load, tmp_path / name),
                Embeddings(endpoints.base_url, "m"),
                VectorStore(tmp_path / name, "m"),
                load,
                vectors=HistoryVectors(history.client, "m"),
            )
            for name in ("one", "two")
        )
        await one.publish(version, passages)
        embedded = len(endpoints.embedded)
        (found,) = await two.search(version, "vehicle?", 4)
        assert (found.id, found.legs, found.score) == ("psg_0", ("vectors",), 1.0)
        assert endpoints.embedded[embedded:] == ["vehicle?"]
        await one.close()
        await two.close()
    build = (await history.documents.indexes.find_one({}))["vectors"][SPACE]["build"]
    assert server.searches[0]["index"] == "vectors_4"
    assert server.searches[0]["path"] == "vector4"
    assert server.searches[0]["filter"] == {"$and": [{"workspace": {"$eq": WORKSPACE}}, {"build": {"$eq": build}}]}
    assert server.searches[0]["numCandidates"] == 400
    assert server.definitions["vectors_4"]["fields"][0] == {
        "type": "vector", "path": "vector4", "numDimensions": 4, "similarity": "dotProduct"
    }  # fmt: skip


async def test_vectors_whose_worker_died_while_storing_are_not_searched_until_another_has_stored_all(
    history: History, server: VectorServer
) -> None:
    version, passages = await published(history, MAX_BATCH + 1)
    dying, other = HistoryVectors(history.client, "m"), HistoryVectors(history.client, "m")
    original = history.client.add_vectors

    async def dies(name: tuple[str, str, int], space: str, batch: VectorBatch) -> None:
        if batch.last:
            raise asyncio.CancelledError
        await original(name, space, batch)

    history.client.add_vectors = dies  # type: ignore[method-assign, assignment]
    matrix = np.full((len(passages), 4), 0.5, dtype=np.float32)
    with pytest.raises(asyncio.CancelledError):
        await dying.add(version, passages, matrix)
    history.client.add_vectors = original  # type: ignore[method-assign]
    assert await left(history) == MAX_BATCH
    assert not await other.has(version)
    assert await other.nearest(version, [0.5] * 4, 4) == []
    await other.add(version, passages, matrix)
    assert await HistoryVectors(history.client, "m").has(version)
    assert len(await other.nearest(version, [0.5] * 4, 4)) == 4
    assert await left(history) == len(passages)


async def test_only_passages_that_point_to_the_query_are_near(history: History, server: VectorServer) -> None:
    version, passages = await published(history)
    vectors = HistoryVectors(history.client, "m")
    matrix = np.array([[1, 0, 0, 0], [-1, 0, 0, 0], [0.6, 0.8, 0, 0]], dtype=np.float32)
    await vectors.add(version, passages, matrix)
    found = await vectors.nearest(version, [2.0, 0.0, 0.0, 0.0], 4)
    assert [(each.id, each.score) for each in found] == [("psg_0", 1.0), ("psg_2", pytest.approx(0.6, abs=1e-6))]
    assert await vectors.nearest(version, [0.0] * 4, 4) == []


async def test_a_model_whose_vectors_have_another_length_now_replaces_the_old_ones(
    history: History, server: VectorServer
) -> None:
    version, passages = await published(history)
    vectors = HistoryVectors(history.client, "m")
    await vectors.add(version, passages, rows(3))
    assert await vectors.nearest(version, [1.0] * 5, 4) == []
    await vectors.add(version, passages, rows(3, 5))
    assert await left(history) == 3
    assert [found.id for found in await vectors.nearest(version, [1.0, 0, 0, 0, 0], 4)] == ["psg_0"]
    assert await vectors.nearest(version, [1.0] * 4, 4) == []


async def test_a_batch_that_comes_after_its_vectors_were_dropped_is_refused_and_leaves_nothing(
    history: History, server: VectorServer
) -> None:
    version, _ = await published(history)
    order = BeginVectors(key=version.knowledge, dimensions=4)
    late = await history.client.begin_vectors(version[:3], SPACE, order)
    await history.client.add_vectors(version[:3], SPACE, batch(version, late.id, last=False))
    await history.client.drop_vectors(WORKSPACE, version.knowledge, SPACE)
    assert (await history.client.begin_vectors(version[:3], SPACE, order)).id != late.id
    with pytest.raises(ApiError) as caught:
        await history.client.add_vectors(version[:3], SPACE, batch(version, late.id))
    assert caught.value.code is Code.NOT_FOUND
    assert await left(history) == 0
    assert (await history.client.version_knowledge(*version[:3])).vectors == ()


async def test_rows_of_a_batch_that_met_the_erasing_of_its_set_are_erased(
    history: History, server: VectorServer
) -> None:
    version, _ = await published(history)
    order = BeginVectors(key=version.knowledge, dimensions=4)
    build = (await history.client.begin_vectors(version[:3], SPACE, order)).id
    store = history.dependencies.nouns.vectors._rows
    original = store.add

    async def meets(*arguments: object) -> None:
        await history.client.drop_vectors(WORKSPACE, version.knowledge, SPACE)
        await original(*arguments)  # type: ignore[arg-type]

    store.add = meets  # type: ignore[method-assign, assignment]
    with pytest.raises(ApiError):
        await history.client.add_vectors(version[:3], SPACE, batch(version, build))
    assert await left(history) == 0
    # And those that a history left which died before it could erase them.
    stored = batch(version, build).rows
    await original(f"{WORKSPACE}:{version.knowledge}", build, 4, 0, stored)
    await original(f"{WORKSPACE}:{'0' * 64}", build, 4, 0, stored)
    await store.erase_abandoned()
    assert await left(history) == 0


async def test_the_sweep_for_abandoned_vectors_leaves_those_in_use(history: History, server: VectorServer) -> None:
    version, passages = await published(history)
    await HistoryVectors(history.client, "m").add(version, passages, rows(3))
    await history.dependencies.nouns.vectors._rows.erase_abandoned()
    assert await left(history) == 3


async def test_a_deleted_agent_and_a_deleted_workspace_keep_no_vector(
    history: History, server: VectorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "STAYS_EMPTY_FOR", timedelta(0))
    await history.client.create_workspace(WORKSPACE)
    version, passages = await published(history)
    await HistoryVectors(history.client, "m").add(version, passages, rows(3))
    await deleted(history)
    assert await left(history) == 0
    with pytest.raises(EndpointFault):
        await HistoryVectors(history.client, "m").add(version, passages, rows(3))
    assert await left(history) == 0


async def test_a_mongodb_without_search_is_counted_and_the_words_answer(history: History, tmp_path: Path) -> None:
    version, passages = await published(history)

    async def load(version: VersionKey) -> list[Passage]:
        return passages

    refused, faults = VECTOR_SEARCHES_REFUSED._value.get(), RETRIEVAL_LEG_FAULTS.labels("vectors")._value.get()
    async with model_endpoints() as endpoints:
        words, store = Fts5Retriever(load, tmp_path), VectorStore(tmp_path, "m")
        vectors = HistoryVectors(history.client, "m")
        retriever = HybridRetriever(words, Embeddings(endpoints.base_url, "m"), store, load, vectors=vectors)
        await retriever.publish(version, passages)
        assert [found.id for found in await retriever.search(version, "open", 4)] == ["psg_2"]
        await retriever.close()
    assert VECTOR_SEARCHES_REFUSED._value.get() == refused + 1
    assert RETRIEVAL_LEG_FAULTS.labels("vectors")._value.get() == faults + 1
    assert await left(history) == 0


async def test_vectors_that_are_none_are_refused(history: History, server: VectorServer) -> None:
    version, _ = await published(history)
    order = BeginVectors(key=version.knowledge, dimensions=4)
    build = (await history.client.begin_vectors(version[:3], SPACE, order)).id
    for vector in ("no base64!", b64encode(b"12345").decode(), b64encode(bytes(12)).decode(), ""):
        stored = batch(version, build).rows[0].model_copy(update={"vector": vector})
        wrong = batch(version, build).model_copy(update={"rows": (stored,)})
        with pytest.raises(ApiError) as caught:
            await history.client.add_vectors(version[:3], SPACE, wrong)
        assert caught.value.code is Code.VALIDATION_FAILED
    with pytest.raises(ApiError):
        await history.client.nearest_passages(WORKSPACE, version.knowledge, SPACE, SearchVectors(vector="x", limit=4))
