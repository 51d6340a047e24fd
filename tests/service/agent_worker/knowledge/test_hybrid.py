import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.agent_worker.knowledge.endpoints import BATCH, Embeddings, Reranker
from services.agent_worker.knowledge.fts5 import Fts5Retriever
from services.agent_worker.knowledge.hybrid import HybridRetriever
from services.agent_worker.knowledge.retriever import VersionKey
from services.agent_worker.knowledge.vector_store import VectorStore
from services.agent_worker.metrics import RETRIEVAL_LEG_FAULTS
from shared.contracts.agents import Passage
from tests.conftest import eventually
from tests.service.agent_worker.knowledge.model_endpoints import ModelEndpoints, model_endpoints

KEY = VersionKey("acme", "agt_1", 1)
PASSAGES = [
    Passage(source_id="src_1", title="Parking", text="Every automobile needs a ticket."),
    Passage(source_id="src_2", title="Returns", text="We send the money back within a week."),
    Passage(source_id="src_3", title="Times", text="The shop is open from nine to five."),
]


@pytest.fixture
async def endpoints() -> AsyncIterator[ModelEndpoints]:
    async with model_endpoints() as running:
        yield running


@asynccontextmanager
async def hybrid(
    endpoints: ModelEndpoints,
    directory: Path,
    passages: list[Passage] = PASSAGES,
    *,
    rerank: bool = False,
    max_bytes: int = 1 << 30,
) -> AsyncIterator[HybridRetriever]:
    async def load(version: VersionKey) -> list[Passage]:
        return passages

    retriever = HybridRetriever(
        Fts5Retriever(load, directory),
        Embeddings(endpoints.base_url, "m", "secret"),
        VectorStore(directory, "m", max_bytes=max_bytes),
        load,
        Reranker(f"{endpoints.base_url}/rerank", "r") if rerank else None,
    )
    try:
        yield retriever
    finally:
        await retriever.close()


async def found(retriever: HybridRetriever, query: str, version: VersionKey = KEY) -> list[str]:
    return [passage.source_id for passage in await retriever.search(version, query, 4)]


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_so():
            await asyncio.sleep(0.01)


def faults(leg: str) -> float:
    return float(RETRIEVAL_LEG_FAULTS.labels(leg)._value.get())


async def test_a_question_in_other_words_finds_its_passage(endpoints: ModelEndpoints, tmp_path: Path) -> None:
    async with hybrid(endpoints, tmp_path) as retriever:
        await retriever.publish(KEY, PASSAGES)
        assert await found(retriever, "vehicle?") == ["src_1"]
        assert (await found(retriever, "refund"))[0] == "src_2"
    assert endpoints.keys[0] == "Bearer secret"


async def test_a_passage_that_both_legs_find_comes_first(endpoints: ModelEndpoints, tmp_path: Path) -> None:
    async with hybrid(endpoints, tmp_path) as retriever:
        await retriever.publish(KEY, PASSAGES)
        passages = await retriever.search(KEY, "car ticket, shop", 4)
        assert passages[0].source_id == "src_1"
        assert [each.score for each in passages] == sorted((each.score for each in passages), reverse=True)


async def test_the_first_question_does_not_wait_for_the_vectors(endpoints: ModelEndpoints, tmp_path: Path) -> None:
    async with hybrid(endpoints, tmp_path) as retriever:
        assert await found(retriever, "ticket") == ["src_1"]
        await eventually(lambda: retriever._vectors.has(KEY), within_s=20.0, what="vectors")
        assert await found(retriever, "vehicle") == ["src_1"]


async def test_words_alone_answer_while_the_endpoint_is_down(endpoints: ModelEndpoints, tmp_path: Path) -> None:
    async with hybrid(endpoints, tmp_path) as retriever:
        await retriever.publish(KEY, PASSAGES)
        endpoints.status, before, asked = 503, faults("vectors"), len(endpoints.batches)
        assert await found(retriever, "ticket") == ["src_1"]
        assert await found(retriever, "ticket") == ["src_1"]
        assert faults("vectors") == before + 2
        # The second question did not ask the endpoint: it is left alone for a while.
        assert len(endpoints.batches) == asked + 1


@pytest.mark.parametrize("garbled", [False, True])
async def test_a_failed_build_of_vectors_costs_no_answer(
    endpoints: ModelEndpoints, tmp_path: Path, garbled: bool
) -> None:
    endpoints.garbled, endpoints.status, before = garbled, 200 if garbled else 500, faults("vectors")
    async with hybrid(endpoints, tmp_path) as retriever:
        assert await found(retriever, "ticket") == ["src_1"]
        await until(lambda: faults("vectors") > before)
        assert await found(retriever, "ticket") == ["src_1"]


async def test_an_endpoint_that_nobody_serves_costs_no_answer(endpoints: ModelEndpoints, tmp_path: Path) -> None:
    endpoints.base_url = "http://127.0.0.1:1/v1"
    async with hybrid(endpoints, tmp_path) as retriever:
        await retriever.publish(KEY, PASSAGES)
        assert await found(retriever, "ticket") == ["src_1"]


async def test_vectors_are_made_in_batches_and_once_for_each_text(endpoints: ModelEndpoints, tmp_path: Path) -> None:
    many = [Passage(source_id="s", title="", text=f"text {number}") for number in range(2 * BATCH + 1)]
    async with hybrid(endpoints, tmp_path, many) as retriever:
        await retriever.publish(KEY, many)
        await retriever.publish(VersionKey("acme", "agt_1", 2), [*many, many[0]])
    async with hybrid(endpoints, tmp_path, many) as retriever:
        await retriever.publish(VersionKey("other", "agt_2", 1), many)
    assert [len(batch) for batch in endpoints.batches] == [BATCH, BATCH, 1]


async def test_a_draft_makes_no_vectors(endpoints: ModelEndpoints, tmp_path: Path) -> None:
    async with hybrid(endpoints, tmp_path) as retriever:
        assert await found(retriever, "ticket", VersionKey("acme", "agt_1", 0)) == ["src_1"]
    assert endpoints.batches == []


async def test_the_reranker_has_the_last_word(endpoints: ModelEndpoints, tmp_path: Path) -> None:
    async with hybrid(endpoints, tmp_path, rerank=True) as retriever:
        await retriever.publish(KEY, PASSAGES)
        passages = await retriever.search(KEY, "ticket, money, shop", 4)
        texts = endpoints.reranked[0]["documents"]
        assert [each.text for each in passages] == texts[::-1]
        assert endpoints.reranked[0]["query"] == "ticket, money, shop"
        assert [each.score for each in passages] == sorted((each.score for each in passages), reverse=True)


async def test_the_fused_order_stands_while_the_reranker_is_down(endpoints: ModelEndpoints, tmp_path: Path) -> None:
    async with hybrid(endpoints, tmp_path, rerank=True) as retriever:
        await retriever.publish(KEY, PASSAGES)
        endpoints.status, before = 500, faults("reranker")
        assert set(await found(retriever, "ticket, money")) == {"src_1", "src_2"}
        assert faults("reranker") == before + 1


def test_a_store_beyond_its_bound_starts_anew(tmp_path: Path) -> None:
    store = VectorStore(tmp_path, "m", max_bytes=0)
    store.add("set", {b"a": [1.0, 0.0]})
    store.add("set", {b"b": [0.0, 1.0]})
    assert set(store.known([b"a", b"b"])) == {b"b"}
    store.close()


def test_a_store_that_was_full_once_keeps_what_is_made_afterwards(tmp_path: Path) -> None:
    store = VectorStore(tmp_path, "m", max_bytes=3_500_000)
    vector = [1.0, *[0.0] * 9999]
    for number in range(0, 120, 10):
        store.add("old", {bytes([number + each]): vector for each in range(10)})
    for number in range(200, 230, 10):
        store.add("new", {bytes([number + each]): vector for each in range(10)})
    assert len(store.known([bytes([200 + each]) for each in range(30)])) == 30
    store.close()


async def test_vectors_are_searched_even_if_the_store_cannot_keep_them(
    endpoints: ModelEndpoints, tmp_path: Path
) -> None:
    many = [Passage(source_id=f"s{number}", title="", text=f"text {number}") for number in range(2 * BATCH)]
    many.append(PASSAGES[0])
    async with hybrid(endpoints, tmp_path, many, max_bytes=0) as retriever:
        await retriever.publish(KEY, many)
        assert await found(retriever, "vehicle") == ["src_1"]


async def test_a_model_that_was_exchanged_under_its_name_embeds_all_texts_again(
    endpoints: ModelEndpoints, tmp_path: Path
) -> None:
    async with hybrid(endpoints, tmp_path) as retriever:
        await retriever.publish(KEY, PASSAGES[:2])
        endpoints.padding = 3
        await retriever.publish(VersionKey("acme", "agt_1", 2), PASSAGES)
        assert await found(retriever, "vehicle", VersionKey("acme", "agt_1", 2)) == ["src_1"]
