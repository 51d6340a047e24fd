"""Vectors in MongoDB, by way of history: each set is embedded and stored once for all workers."""

import asyncio
from base64 import b64encode
from collections.abc import Awaitable, Sequence
from typing import Final, TypeVar

import numpy as np
from cachetools import LRUCache

from services.agent_worker.knowledge.endpoints import EndpointFault
from services.agent_worker.knowledge.retriever import VersionKey
from services.agent_worker.knowledge.vector_index import similar
from services.agent_worker.knowledge.vector_store import Matrix, normalized, space_of
from shared.contracts.agents import Passage
from shared.contracts.errors import ApiError
from shared.contracts.sessions import RetrievedPassage
from shared.contracts.vectors import (
    MAX_BATCH,
    MAX_FOUND,
    BeginVectors,
    SearchVectors,
    StoredVector,
    VectorBatch,
)
from shared.history_client import HistoryClient

T = TypeVar("T")

QUERY_TIMEOUT_S: Final = 1.0
WRITE_TIMEOUT_S: Final = 15.0


class HistoryVectors:
    """See VectorIndex. Only sets with a key have vectors here; history erases them with their sets."""

    def __init__(self, history: HistoryClient, model: str) -> None:
        self._history = history
        self._space = space_of(model)
        self._complete: LRUCache[str, bool] = LRUCache(10_000)

    async def has(self, version: VersionKey) -> bool:
        if not version.knowledge or version.knowledge in self._complete:
            return bool(version.knowledge)
        found = await _within(QUERY_TIMEOUT_S, self._history.version_knowledge(*version[:3]))
        if found.key == version.knowledge and self._space in found.vectors:
            self._complete[version.knowledge] = True
        return version.knowledge in self._complete

    async def add(self, version: VersionKey, passages: Sequence[Passage], vectors: Matrix) -> None:
        if not version.knowledge:
            return
        order = BeginVectors(key=version.knowledge, dimensions=vectors.shape[1])
        build = await _within(WRITE_TIMEOUT_S, self._history.begin_vectors(version[:3], self._space, order))
        for start in range(0, len(passages), MAX_BATCH):
            rows = zip(passages[start : start + MAX_BATCH], vectors[start : start + MAX_BATCH], strict=True)
            batch = VectorBatch(
                key=version.knowledge,
                build=build.id,
                start=start,
                rows=tuple(StoredVector(passage=passage, vector=_text(vector)) for passage, vector in rows),
                last=start + MAX_BATCH >= len(passages),
            )
            await _within(WRITE_TIMEOUT_S, self._history.add_vectors(version[:3], self._space, batch))
        self._complete[version.knowledge] = True

    async def nearest(self, version: VersionKey, vector: Sequence[float], most: int) -> list[RetrievedPassage]:
        query = normalized(vector)
        if not version.knowledge or not np.any(query):
            return []
        order = SearchVectors(vector=_text(query), limit=min(most, MAX_FOUND))
        found = await _within(
            QUERY_TIMEOUT_S,
            self._history.nearest_passages(version.workspace, version.knowledge, self._space, order),
        )
        if not found.items:
            # Perhaps another worker has dropped them: the next search asks whether they are there.
            self._complete.pop(version.knowledge, None)
        return [similar(near.passage, near.cosine) for near in found.items]

    async def drop(self, version: VersionKey) -> None:
        self._complete.pop(version.knowledge, None)
        if version.knowledge:
            dropping = self._history.drop_vectors(version.workspace, version.knowledge, self._space)
            await _within(WRITE_TIMEOUT_S, dropping)

    async def kept(self) -> set[str]:
        return set()

    async def discard(self, keys: set[str]) -> None:
        for key in keys:
            self._complete.pop(key, None)

    async def close(self) -> None:
        """The client is its owner's."""


def _text(vector: Matrix) -> str:
    return b64encode(vector.astype("<f4").tobytes()).decode()


async def _within(timeout_s: float, call: Awaitable[T]) -> T:
    """Raises EndpointFault."""
    try:
        async with asyncio.timeout(timeout_s):
            return await call
    except (ApiError, OSError, TimeoutError) as error:
        raise EndpointFault(type(error).__name__) from error
