"""Purged texts and deleted workspaces leave no vector: not in a worker's files, its memory, or Qdrant."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from qdrant_client import AsyncQdrantClient

from services.agent_worker.knowledge.current import CurrentRetriever
from services.agent_worker.knowledge.endpoints import Embeddings
from services.agent_worker.knowledge.fts5 import Fts5Retriever
from services.agent_worker.knowledge.history_vectors import HistoryVectors
from services.agent_worker.knowledge.hybrid import HybridRetriever
from services.agent_worker.knowledge.index_blobs import IndexBlobs
from services.agent_worker.knowledge.qdrant import QdrantVectors, qdrant_vectors
from services.agent_worker.knowledge.retriever import VersionKey
from services.agent_worker.knowledge.vector_index import MemoryVectors, VectorIndex
from services.agent_worker.knowledge.vector_store import VectorStore, normalized
from services.history.erasures import receipts
from shared.contracts.agents import Passage
from tests.conftest import eventually
from tests.service.agent_worker.knowledge.model_endpoints import ModelEndpoints, model_endpoints, vector_of
from tests.service.history.conftest import history
from tests.service.history.erasures.remains import remains
from tests.service.history.knowledge.conftest import knowledge
from tests.service.history.knowledge.sources import Knowledge
from tests.service.history.knowledge.test_version_indexes import blobs
from tests.service.history.mongo.vector_server import searching
from tests.service.history.running import WORKSPACE
from tests.service.history.workspaces.test_workspaces import deleted

__all__ = ["history", "knowledge"]
pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")

KEPT = "The garden has opening hours."
PURGED = "A puppy drives an automobile of ours."


@asynccontextmanager
async def worker(
    knowledge: Knowledge, endpoints: ModelEndpoints, directory: Path, vectors: VectorIndex
) -> AsyncIterator[CurrentRetriever]:
    async def load(version: VersionKey) -> list[Passage]:
        return await knowledge.history.client.passages(*version[:3])

    words, store = (
        Fts5Retriever(load, directory, store=IndexBlobs(knowledge.history.client)),
        VectorStore(directory, "m"),
    )
    inner = HybridRetriever(words, Embeddings(endpoints.base_url, "m"), store, load, vectors=vectors)
    url = knowledge.history.dependencies.settings.stream_urls[0]
    retriever = CurrentRetriever(inner, knowledge.history.client, url, [words, store, vectors])
    retriever.start()
    try:
        yield retriever
    finally:
        await retriever.close()


async def _has_vector_of(text: str, directory: Path) -> bool:
    wanted = normalized(vector_of(text)).tobytes()

    def found() -> bool:
        return any(wanted in path.read_bytes() for path in directory.glob("*.vectors*"))

    return await asyncio.to_thread(found)


@pytest.mark.parametrize("where", ["memory", "qdrant", "mongodb"])
async def test_a_purged_source_leaves_no_vector(knowledge: Knowledge, tmp_path: Path, where: str) -> None:
    client = AsyncQdrantClient(":memory:")
    searching(knowledge.history.dependencies.database)
    kinds: dict[str, VectorIndex] = {
        "memory": MemoryVectors(),
        "qdrant": QdrantVectors(client, "m"),
        "mongodb": HistoryVectors(knowledge.history.client, "m"),
    }
    vectors = kinds[where]
    async with model_endpoints() as endpoints, worker(knowledge, endpoints, tmp_path, vectors) as retriever:
        await knowledge.ended(await knowledge.text(KEPT))
        secret = await knowledge.ended(await knowledge.text(PURGED))
        key = VersionKey(WORKSPACE, knowledge.agent_id, (await knowledge.publish()).number)

        async def finds(query: str) -> list[str]:
            found = await retriever.search(key, query, 4)
            return [passage.text for passage in found if "vectors" in passage.legs]

        async def is_found() -> bool:
            return await finds("vehicle") == [PURGED]

        await eventually(is_found, within_s=20.0, what="a passage that its vector finds")
        assert await _has_vector_of(PURGED, tmp_path)
        before = await vectors.kept()
        await knowledge.delete(secret, purge=True)

        async def is_gone() -> bool:
            return not await _has_vector_of(PURGED, tmp_path) and not before & await vectors.kept()

        await eventually(is_gone, within_s=20.0, what="stores without the purged vector")

        async def is_searched() -> bool:
            return await finds("open") == [KEPT]

        await eventually(is_searched, within_s=20.0, what="the vectors of what is left")
        assert await finds("vehicle") == []
        assert await _has_vector_of(KEPT, tmp_path)
        assert await remains(knowledge.history, PURGED) == []
        if where == "qdrant":
            points, _ = await client.scroll("parley_" + _collection(vectors), limit=100)
            assert PURGED not in str(points)


def _collection(vectors: VectorIndex) -> str:
    assert isinstance(vectors, QdrantVectors)
    return vectors._name.removeprefix("parley_")


async def test_a_worker_that_starts_later_removes_what_others_left_in_qdrant(
    knowledge: Knowledge, tmp_path: Path
) -> None:
    client = AsyncQdrantClient(":memory:")
    dead = QdrantVectors(client, "m")
    passage = Passage(id="psg_1", source_id="src_1", title="", text=PURGED)
    matrix = normalized(vector_of(PURGED)).reshape(1, -1)
    await dead.add(VersionKey("gone", "agt_1", 1, "a" * 64), [passage], matrix)
    async with (
        model_endpoints() as endpoints,
        worker(knowledge, endpoints, tmp_path, QdrantVectors(client, "m")) as one,
    ):
        await one.check()
        assert (await client.count(dead._name)).count == 0


async def test_a_qdrant_that_is_away_ends_no_check(knowledge: Knowledge, tmp_path: Path) -> None:
    away = qdrant_vectors("http://127.0.0.1:1", "", "m")
    async with model_endpoints() as endpoints, worker(knowledge, endpoints, tmp_path, away) as retriever:
        await retriever.check()
        await away.discard({"a" * 64})


async def test_a_vector_that_another_set_uses_stays(tmp_path: Path) -> None:
    store = VectorStore(tmp_path, "m")
    store.add("one", {b"1": [1.0, 0.0], b"2": [0.6, 0.8]})
    store.use("two", [b"2"])
    await store.discard({"one"})
    assert set(store.known([b"1", b"2"])) == {b"2"}
    assert await store.kept() == {"two"}
    store.close()


async def test_a_deleted_workspace_keeps_no_index_and_no_vector(
    knowledge: Knowledge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "STAYS_EMPTY_FOR", timedelta(0))
    history, client = knowledge.history, AsyncQdrantClient(":memory:")
    vectors = QdrantVectors(client, "m")
    await history.client.create_workspace(WORKSPACE)
    async with model_endpoints() as endpoints, worker(knowledge, endpoints, tmp_path, vectors) as retriever:
        await knowledge.ended(await knowledge.text(PURGED))
        version = VersionKey(WORKSPACE, knowledge.agent_id, (await knowledge.publish()).number)

        async def is_stored() -> bool:
            await retriever.search(version, "vehicle", 4)
            index_blobs = [name for name in await blobs(history) if name.startswith(WORKSPACE)]
            return bool(index_blobs) and bool(await vectors.kept()) and await _has_vector_of(PURGED, tmp_path)

        await eventually(is_stored, within_s=20.0, what="an index blob and vectors")
        await deleted(history)
        assert await blobs(history) == []
        assert await history.documents.indexes.find({}).to_list(None) == []
        await retriever.check()
        assert await vectors.kept() == set()
        assert not await _has_vector_of(PURGED, tmp_path)
