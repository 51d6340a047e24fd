"""A retriever of two legs: words (BM25), and vectors of an embeddings endpoint, fused by reciprocal rank.

Without the endpoint, or before a version's vectors are made, the words alone answer. A draft's passages may change at
any time, so no vectors are made of them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from services.agent_worker.knowledge.endpoints import Embeddings, EndpointFault, Reranker
from services.agent_worker.knowledge.index_blobs import IndexStore
from services.agent_worker.knowledge.queries import name_of
from services.agent_worker.knowledge.retriever import MAX_QUERY, Retriever, VersionKey
from services.agent_worker.knowledge.vector_builds import VectorBuilds, leg_failed
from services.agent_worker.knowledge.vector_index import MemoryVectors, VectorIndex
from services.agent_worker.knowledge.vector_store import VectorStore
from shared.contracts.agents import Passage
from shared.contracts.sessions import RetrievedPassage

# Of each leg; the fused order of so many goes to the reranker.
CANDIDATES: Final = 20
# The usual constant of reciprocal rank fusion (Cormack, Clarke, Büttcher 2009).
RANK_CONSTANT: Final = 60
QUERY_TIMEOUT_S: Final = 1.0


class HybridRetriever:
    """`words` finds by words and is closed with this. `load` fetches a version's passages.

    `vectors` None: they are searched in this process. `shared`: where they are stored for other workers.
    """

    def __init__(
        self,
        words: Retriever,
        embeddings: Embeddings,
        store: VectorStore,
        load: Callable[[VersionKey], Awaitable[list[Passage]]],
        reranker: Reranker | None = None,
        vectors: VectorIndex | None = None,
        shared: IndexStore | None = None,
    ) -> None:
        self._words = words
        self._embeddings = embeddings
        self._reranker = reranker
        self._vectors = MemoryVectors() if vectors is None else vectors
        self._builds = VectorBuilds(embeddings, store, load, self._vectors, shared)

    async def publish(self, version: VersionKey, passages: Iterable[Passage]) -> None:
        rows = list(passages)
        await self._words.publish(version, rows)
        await self._builds.build(version, rows)

    async def search(self, version: VersionKey, query: str, top_k: int) -> list[RetrievedPassage]:
        if top_k <= 0 or not query.strip():
            return []
        most = max(top_k, CANDIDATES)
        by_words, by_vectors = await asyncio.gather(
            self._words.search(version, query, most), self._by_vectors(version, query, most)
        )
        fused = fuse([by_words, by_vectors])[:most]
        return (await self._reranked(query, fused))[:top_k]

    async def drop(self, version: VersionKey) -> None:
        await self._words.drop(version)
        try:
            await self._vectors.drop(version)
        except EndpointFault as fault:
            leg_failed("vectors", fault)

    async def close(self) -> None:
        await self._builds.end()
        await self._embeddings.aclose()
        if self._reranker is not None:
            await self._reranker.aclose()
        await self._vectors.close()
        await self._words.close()

    async def _by_vectors(self, version: VersionKey, query: str, most: int) -> list[RetrievedPassage]:
        if version.number == 0:
            return []
        try:
            if not await self._builds.ready(version):
                return []
            (vector,) = await self._embeddings.embed([query[:MAX_QUERY]], QUERY_TIMEOUT_S)
            return await self._vectors.nearest(version, vector, most)
        except EndpointFault as fault:
            leg_failed("vectors", fault)
            return []

    # --- reranking

    async def _reranked(self, query: str, passages: list[RetrievedPassage]) -> list[RetrievedPassage]:
        if self._reranker is None or len(passages) < 2:
            return passages
        try:
            order = await self._reranker.order(query, [passage.text for passage in passages], QUERY_TIMEOUT_S)
        except EndpointFault as fault:
            leg_failed("reranker", fault)
            return passages
        # The scores stay those of the places: an agent's least score must mean the same while the endpoint is down.
        return [
            passages[index].model_copy(
                update={"score": passages[rank].score, "legs": (*passages[index].legs, "reranker")}
            )
            for rank, index in enumerate(order)
        ]


def fuse(legs: Sequence[Sequence[RetrievedPassage]]) -> list[RetrievedPassage]:
    """All that the legs found, best first by reciprocal rank.

    A passage's score is the best that a leg gave it, or one behind it: the share of the question that its words have,
    or the cosine of its vector. So vectors never lower the score that a passage has by words alone.
    """
    ranks: dict[tuple[str, str, str], float] = {}
    found: dict[tuple[str, str, str], list[RetrievedPassage]] = {}
    for leg in legs:
        for rank, passage in enumerate(leg, 1):
            name = name_of(passage)
            ranks[name] = ranks.get(name, 0.0) + 1 / (RANK_CONSTANT + rank)
            found.setdefault(name, []).append(passage)
    fused: list[RetrievedPassage] = []
    score = 0.0
    for name in sorted(ranks, key=lambda name: -ranks[name])[::-1]:
        score = max(score, *(passage.score for passage in found[name]))
        by = tuple(leg for passage in found[name] for leg in passage.legs)
        fused.append(found[name][0].model_copy(update={"score": score, "legs": by}))
    return fused[::-1]
