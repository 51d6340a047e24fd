import asyncio
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient

from services.agent_worker.knowledge.endpoints import Embeddings
from services.agent_worker.knowledge.fts5 import Fts5Retriever
from services.agent_worker.knowledge.hybrid import HybridRetriever
from services.agent_worker.knowledge.qdrant import BATCH, QdrantVectors
from services.agent_worker.knowledge.retriever import VersionKey
from services.agent_worker.knowledge.vector_store import VectorStore
from shared.contracts.agents import Passage
from tests.service.agent_worker.knowledge.model_endpoints import model_endpoints
from tests.service.agent_worker.knowledge.test_hybrid import PASSAGES

KEY = VersionKey("acme", "agt_1", 1)
pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")


def passages(count: int) -> list[Passage]:
    return [Passage(id=f"psg_{number}", source_id="src_1", title="", text=f"text {number}") for number in range(count)]


def rows(count: int) -> "np.typing.NDArray[np.float32]":
    return np.eye(count, 4, dtype=np.float32)


async def test_another_worker_finds_what_one_has_stored_and_embeds_nothing(tmp_path: Path) -> None:
    client = AsyncQdrantClient(":memory:")

    async def load(version: VersionKey) -> list[Passage]:
        return PASSAGES

    async with model_endpoints() as endpoints:
        one, two = (
            HybridRetriever(
                Fts5Retriever(load, tmp_path / name),
                Embeddings(endpoints.base_url, "m"),
                VectorStore(tmp_path / name, "m"),
                load,
                vectors=QdrantVectors(client, "m"),
            )
            for name in ("one", "two")
        )
        await one.publish(KEY, PASSAGES)
        embedded = len(endpoints.embedded)
        assert [found.source_id for found in await two.search(KEY, "vehicle?", 4)] == ["src_1"]
        assert endpoints.embedded[embedded:] == ["vehicle?"]
        await one.close()
        await two.close()


async def test_a_version_whose_worker_died_while_storing_is_not_searched() -> None:
    client = AsyncQdrantClient(":memory:")
    vectors, other = QdrantVectors(client, "m"), QdrantVectors(client, "m")
    stored = 0

    async def dies(*arguments: object) -> None:
        nonlocal stored
        stored += 1
        if stored > 1:
            raise asyncio.CancelledError
        await original(*arguments)  # type: ignore[arg-type]

    original, vectors._stored = vectors._stored, dies  # type: ignore[method-assign, assignment]
    many = passages(BATCH + 1)
    with pytest.raises(asyncio.CancelledError):
        await vectors.add(KEY, many, np.full((len(many), 4), 0.5, dtype=np.float32))
    assert not await other.has(KEY)
    await other.add(KEY, many, np.full((len(many), 4), 0.5, dtype=np.float32))
    assert await other.has(KEY)
    assert (await client.count(other._name)).count == len(many) + 1
    await other.close()


async def test_dropping_a_version_leaves_the_others() -> None:
    vectors, second = QdrantVectors(AsyncQdrantClient(":memory:"), "m"), VersionKey("acme", "agt_1", 2)
    for version in (KEY, second):
        await vectors.add(version, passages(3), rows(3))
    await vectors.drop(KEY)
    assert not await vectors.has(KEY)
    assert [found.id for found in await vectors.nearest(second, [0.0, 1.0, 0.0, 0.0], 2)] == ["psg_1"]
    assert (await vectors._client.count(vectors._name)).count == 4
    await vectors.close()


async def test_a_collection_that_somebody_has_emptied_is_noticed() -> None:
    vectors = QdrantVectors(AsyncQdrantClient(":memory:"), "m")
    await vectors.add(KEY, passages(2), rows(2))
    await vectors._client.delete_collection(vectors._name)
    await vectors._made_collection(4)
    assert await vectors.nearest(KEY, [1.0, 0.0, 0.0, 0.0], 2) == []
    assert not await vectors.has(KEY)
    await vectors.close()
