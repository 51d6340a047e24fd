"""Vectors are made once, stored beside the index, and fetched by workers that never saw the version."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from services.agent_worker.ingest.index_builds import index_builds
from services.agent_worker.knowledge.current import CurrentRetriever
from services.agent_worker.knowledge.endpoints import Embeddings
from services.agent_worker.knowledge.fts5 import Fts5Retriever
from services.agent_worker.knowledge.hybrid import HybridRetriever
from services.agent_worker.knowledge.index_blobs import IndexBlobs
from services.agent_worker.knowledge.retriever import VersionKey
from services.agent_worker.knowledge.vector_files import VectorFile, part_of
from services.agent_worker.knowledge.vector_index import MemoryVectors
from services.agent_worker.knowledge.vector_store import VectorStore, digest_of
from shared.contracts.agents import Passage
from tests.conftest import eventually
from tests.service.agent_worker.knowledge.model_endpoints import ModelEndpoints, model_endpoints
from tests.service.history.conftest import history
from tests.service.history.erasures.remains import remains
from tests.service.history.knowledge.conftest import knowledge
from tests.service.history.knowledge.sources import Knowledge
from tests.service.history.knowledge.test_version_indexes import blobs
from tests.service.history.running import WORKSPACE

__all__ = ["history", "knowledge"]
PARKING = "Every automobile needs a ticket."
RETURNS = "We send the money back within a week."


class Worker:
    """A worker with a disk of its own. `loads` counts the sets that it asked history for."""

    def __init__(self, knowledge: Knowledge, endpoints: ModelEndpoints, directory: Path) -> None:
        self.loads = 0
        self._knowledge = knowledge
        client = knowledge.history.client
        shared, vectors = IndexBlobs(client), MemoryVectors()
        words, store = Fts5Retriever(self._load, directory, store=shared), VectorStore(directory, "m")
        embeddings = Embeddings(endpoints.base_url, "m")
        inner = HybridRetriever(words, embeddings, store, self._load, vectors=vectors, shared=shared)
        url = knowledge.history.dependencies.settings.stream_urls[0]
        self.retriever = CurrentRetriever(inner, client, url, [words, store, vectors])

    async def _load(self, version: VersionKey) -> list[Passage]:
        self.loads += 1
        return await self._knowledge.history.client.passages(*version[:3])

    async def ask(self, number: int, query: str = "vehicle") -> list[str]:
        key = VersionKey(WORKSPACE, self._knowledge.agent_id, number)
        return [passage.text for passage in await self.retriever.search(key, query, 4)]


@asynccontextmanager
async def worker(
    knowledge: Knowledge, endpoints: ModelEndpoints, directory: Path, *, builds: bool = False
) -> AsyncIterator[Worker]:
    made = Worker(knowledge, endpoints, directory)
    made.retriever.start()
    building = index_builds(knowledge.history.client, made.retriever, lease_s=5.0)
    if builds:
        building.start()
        queue = knowledge.history.queue
        await eventually(lambda: queue.exists("parley:knowledge:builder"), what="the sign of an ingest worker")
    try:
        yield made
    finally:
        await building.drain()
        await made.retriever.close()


@pytest.fixture
async def endpoints() -> AsyncIterator[ModelEndpoints]:
    async with model_endpoints() as running:
        yield running


async def test_the_first_question_on_a_fresh_worker_finds_by_vectors_and_embeds_nothing_but_itself(
    knowledge: Knowledge, endpoints: ModelEndpoints, tmp_path: Path
) -> None:
    await knowledge.ended(await knowledge.text(PARKING))
    async with worker(knowledge, endpoints, tmp_path / "ingest", builds=True):
        version = await knowledge.publish()
    assert version.index == "built"
    embedded = len(endpoints.embedded)
    async with worker(knowledge, endpoints, tmp_path / "fresh") as fresh:
        assert await fresh.ask(version.number) == [PARKING]
        assert endpoints.embedded[embedded:] == ["vehicle"]
        assert fresh.loads == 0


async def test_a_new_version_embeds_only_what_no_earlier_version_has(
    knowledge: Knowledge, endpoints: ModelEndpoints, tmp_path: Path
) -> None:
    await knowledge.ended(await knowledge.text(PARKING))
    async with worker(knowledge, endpoints, tmp_path / "one", builds=True):
        await knowledge.publish()
    await knowledge.ended(await knowledge.text(RETURNS))
    async with worker(knowledge, endpoints, tmp_path / "another", builds=True):
        second = await knowledge.publish()
    assert [sum(text in each for each in endpoints.embedded) for text in (PARKING, RETURNS)] == [1, 1]
    async with worker(knowledge, endpoints, tmp_path / "fresh") as fresh:
        assert await fresh.ask(second.number) == [PARKING]
        assert await fresh.ask(second.number, "refund") == [RETURNS]


async def test_a_purged_texts_vector_is_in_no_stored_file(
    knowledge: Knowledge, endpoints: ModelEndpoints, tmp_path: Path
) -> None:
    await knowledge.ended(await knowledge.text(RETURNS))
    secret = await knowledge.ended(await knowledge.text(PARKING))
    async with worker(knowledge, endpoints, tmp_path / "ingest", builds=True):
        version = await knowledge.publish()
        before = await blobs(knowledge.history)
        assert len(before) == 2
        await knowledge.delete(secret, purge=True)

        async def is_built_again() -> bool:
            now = await blobs(knowledge.history)
            return len(now) == 2 and not set(now) & set(before)

        await eventually(is_built_again, within_s=20.0, what="the files of what is left")
    assert await remains(knowledge.history, PARKING) == []
    async with worker(knowledge, endpoints, tmp_path / "fresh") as fresh:
        assert await fresh.ask(version.number) == []
        assert await fresh.ask(version.number, "refund") == [RETURNS]


async def test_without_an_ingest_worker_the_first_one_that_needs_them_makes_the_vectors_for_all(
    knowledge: Knowledge, endpoints: ModelEndpoints, tmp_path: Path
) -> None:
    await knowledge.ended(await knowledge.text(PARKING))
    version = await knowledge.publish()
    async with worker(knowledge, endpoints, tmp_path / "one") as one:

        async def is_found() -> bool:
            return await one.ask(version.number) == [PARKING]

        await eventually(is_found, what="vectors that are made beside the turns")
    embedded = len(endpoints.embedded)
    async with worker(knowledge, endpoints, tmp_path / "fresh") as fresh:
        assert await fresh.ask(version.number) == [PARKING]
        assert endpoints.embedded[embedded:] == ["vehicle"]


async def test_a_stored_file_that_is_damaged_is_not_searched_and_the_vectors_are_made(
    knowledge: Knowledge, endpoints: ModelEndpoints, tmp_path: Path
) -> None:
    await knowledge.ended(await knowledge.text(PARKING))
    async with worker(knowledge, endpoints, tmp_path / "ingest", builds=True):
        version = await knowledge.publish()
    found = await knowledge.history.client.version_knowledge(WORKSPACE, knowledge.agent_id, version.number)
    set_id = {"_id": f"{WORKSPACE}:{found.key}"}
    damaged = {f"parts.{part_of('m')}.digest": "0" * 64}
    await knowledge.history.documents.indexes.update_one(set_id, {"$set": damaged})
    async with worker(knowledge, endpoints, tmp_path / "fresh") as fresh:
        assert await fresh.ask(version.number, "ticket") == [PARKING]

        async def is_found() -> bool:
            return await fresh.ask(version.number) == [PARKING]

        await eventually(is_found, what="vectors that were made here")


def test_a_file_has_each_distinct_text_once_and_gives_back_all_passages(tmp_path: Path) -> None:
    passages = [Passage(id=f"psg_{at}", source_id="src_1", title="Über", text=text) for at, text in enumerate("abca")]
    matrix = np.array([[1, 0], [0, 1], [0.6, 0.8], [1, 0]], dtype=np.float32)
    digests = [digest_of(passage.text) for passage in passages]
    path = tmp_path / "file"
    VectorFile(passages, digests, matrix).write(path)
    found = VectorFile.read(path)
    assert (list(found.passages), list(found.digests)) == (passages, digests)
    assert np.array_equal(found.matrix, matrix)
    with np.load(path) as stored:
        assert stored["vectors"].shape == (3, 2)


@pytest.mark.parametrize("raw", [b"", b"PK\x03\x04", b"no archive at all", b"\x93NUMPY"])
def test_a_file_that_is_none_is_refused(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"."):
        VectorFile.read(path)
