"""Scores mean the same with and without vectors: 0 to 1, and never less with them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.agent_worker.knowledge.fts5 import Fts5Retriever
from services.agent_worker.knowledge.retriever import VersionKey
from shared.contracts.agents import Passage
from tests.service.agent_worker.knowledge.model_endpoints import ModelEndpoints, model_endpoints
from tests.service.agent_worker.knowledge.test_hybrid import KEY, PASSAGES, hybrid

QUESTIONS = ("Is the shop open from nine?", "automobile ticket", "money back within a week", "shop automobile")


@pytest.fixture
async def endpoints() -> AsyncIterator[ModelEndpoints]:
    async with model_endpoints() as running:
        yield running


async def by_words(directory: Path, query: str) -> dict[str, float]:
    async def load(version: VersionKey) -> list[Passage]:
        return PASSAGES

    retriever = Fts5Retriever(load, directory)
    try:
        return {passage.source_id: passage.score for passage in await retriever.search(KEY, query, 4)}
    finally:
        await retriever.close()


@pytest.mark.parametrize("query", QUESTIONS)
async def test_a_passage_that_is_good_enough_by_words_is_so_with_vectors(
    endpoints: ModelEndpoints, tmp_path: Path, query: str
) -> None:
    words = await by_words(tmp_path / "words", query)
    async with hybrid(endpoints, tmp_path / "both") as retriever:
        await retriever.publish(KEY, PASSAGES)
        both = {passage.source_id: passage for passage in await retriever.search(KEY, query, 4)}
    assert words
    for source_id, score in words.items():
        assert 0 < score <= both[source_id].score <= 1
        assert "words" in both[source_id].legs


async def test_a_passage_with_the_whole_question_has_the_score_1_and_one_with_little_of_it_less(
    tmp_path: Path,
) -> None:
    assert (await by_words(tmp_path / "a", "Every automobile needs a ticket"))["src_1"] == pytest.approx(1.0, abs=0.05)
    assert (await by_words(tmp_path / "b", "Which elephants eat a ticket on Thursdays"))["src_1"] < 0.5


async def test_without_the_endpoint_the_scores_are_those_of_words(endpoints: ModelEndpoints, tmp_path: Path) -> None:
    words = await by_words(tmp_path / "words", QUESTIONS[0])
    async with hybrid(endpoints, tmp_path / "both") as retriever:
        await retriever.publish(KEY, PASSAGES)
        endpoints.status = 503
        found = {passage.source_id: passage.score for passage in await retriever.search(KEY, QUESTIONS[0], 4)}
    assert found == words
