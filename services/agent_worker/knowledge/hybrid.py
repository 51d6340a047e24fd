"""A retriever of two legs: words (BM25), and vectors of an embeddings endpoint, fused by reciprocal rank.

Without the endpoint, or before a version's vectors are made, the words alone answer. A draft's passages may change at
any time, so no vectors are made of them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import numpy as np
from cachetools import TTLCache

from services.agent_worker.knowledge.endpoints import BATCH, Embeddings, EndpointFault, Reranker
from services.agent_worker.knowledge.queries import name_of
from services.agent_worker.knowledge.retriever import MAX_QUERY, Retriever, VersionKey
from services.agent_worker.knowledge.vector_index import MemoryVectors, VectorIndex
from services.agent_worker.knowledge.vector_store import Matrix, VectorStore, digest_of
from services.agent_worker.metrics import RETRIEVAL_LEG_FAULTS
from shared.contracts.agents import Passage
from shared.contracts.sessions import RetrievedPassage
from shared.log import get_logger
from shared.single_flight import SingleFlight
from shared.tasks import end_tasks

log = get_logger()

# Of each leg; the fused order of so many goes to the reranker.
CANDIDATES: Final = 20
# The usual constant of reciprocal rank fusion (Cormack, Clarke, Büttcher 2009).
RANK_CONSTANT: Final = 60
QUERY_TIMEOUT_S: Final = 1.0
BATCH_TIMEOUT_S: Final = 60.0
# After a build of vectors failed.
RETRY_S: Final = 30.0


class HybridRetriever:
    """`words` finds by words and is closed with this. `load` fetches a version's passages.

    `vectors` None: they are searched in this process.
    """

    def __init__(
        self,
        words: Retriever,
        embeddings: Embeddings,
        store: VectorStore,
        load: Callable[[VersionKey], Awaitable[list[Passage]]],
        reranker: Reranker | None = None,
        vectors: VectorIndex | None = None,
    ) -> None:
        self._words = words
        self._embeddings = embeddings
        self._store = store
        self._load = load
        self._reranker = reranker
        self._vectors = MemoryVectors() if vectors is None else vectors
        self._failed: TTLCache[VersionKey, bool] = TTLCache(1024, RETRY_S)
        self._builds = SingleFlight[VersionKey, None]()
        self._tasks: set[asyncio.Task[None]] = set()

    async def publish(self, version: VersionKey, passages: Iterable[Passage]) -> None:
        rows = list(passages)
        await self._words.publish(version, rows)
        await self._try_build(version, rows)

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
            _failed("vectors", fault)

    async def close(self) -> None:
        await self._builds.end()
        await end_tasks(self._tasks)
        await self._embeddings.aclose()
        if self._reranker is not None:
            await self._reranker.aclose()
        await self._vectors.close()
        await self._words.close()
        await asyncio.to_thread(self._store.close)

    # --- vectors

    async def _by_vectors(self, version: VersionKey, query: str, most: int) -> list[RetrievedPassage]:
        if version.number == 0:
            return []
        try:
            if not await self._vectors.has(version):
                self._start_build(version)
                return []
            (vector,) = await self._embeddings.embed([query[:MAX_QUERY]], QUERY_TIMEOUT_S)
            return await self._vectors.nearest(version, vector, most)
        except EndpointFault as fault:
            _failed("vectors", fault)
            return []

    def _start_build(self, version: VersionKey) -> None:
        """The turn does not wait for it."""
        if version in self._failed:
            return
        task = asyncio.create_task(self._builds.run(version, lambda: self._try_build(version, None)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _try_build(self, version: VersionKey, passages: list[Passage] | None) -> None:
        """Makes a version's vectors. Faults are counted, and the words alone go on answering."""
        try:
            rows = await self._load(version) if passages is None else passages
            if rows:
                await self._vectors.add(version, rows, await self._matrix(version.knowledge, rows))
                log.info("vectors_ready", agent_id=version.agent_id, version=version.number, passages=len(rows))
        except Exception as error:  # An edge: whatever the loader, the endpoint or the disk raise.
            self._failed[version] = True
            _failed("vectors", error)

    async def _matrix(self, knowledge: str, passages: Sequence[Passage]) -> Matrix:
        texts = [_text(passage) for passage in passages]
        digests = [digest_of(text) for text in texts]
        # Before the look-up, so that what is found is not discarded with another set meanwhile.
        await asyncio.to_thread(self._store.use, knowledge, digests)
        vectors = await asyncio.to_thread(self._store.known, digests)
        missing = {digest: text for digest, text in zip(digests, texts, strict=True) if digest not in vectors}
        todo = list(missing)
        for at in range(0, len(todo), BATCH):
            batch = todo[at : at + BATCH]
            made = await self._embeddings.embed([missing[digest] for digest in batch], BATCH_TIMEOUT_S)
            # Stored batch by batch: a build that is interrupted goes on where it stopped.
            await asyncio.to_thread(self._store.add, knowledge, dict(zip(batch, made, strict=True)))
        if todo:
            vectors |= await asyncio.to_thread(self._store.known, todo)
        return await asyncio.to_thread(np.stack, [vectors[digest] for digest in digests])

    # --- reranking

    async def _reranked(self, query: str, passages: list[RetrievedPassage]) -> list[RetrievedPassage]:
        if self._reranker is None or len(passages) < 2:
            return passages
        try:
            order = await self._reranker.order(query, [passage.text for passage in passages], QUERY_TIMEOUT_S)
        except EndpointFault as fault:
            _failed("reranker", fault)
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


def _text(passage: Passage) -> str:
    return "\n".join(filter(None, (passage.title, passage.heading, passage.text)))


def _failed(leg: str, error: Exception) -> None:
    RETRIEVAL_LEG_FAULTS.labels(leg).inc()
    log.warning("retrieval_leg_failed", leg=leg, error=type(error).__name__)
