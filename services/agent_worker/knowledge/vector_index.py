"""Where the vectors of versions are searched: the protocol, and the default, a matrix in the worker's memory."""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from cachetools import LRUCache

from services.agent_worker.knowledge.index import retrieved
from services.agent_worker.knowledge.retriever import VersionKey
from services.agent_worker.knowledge.vector_store import Matrix, nearest, normalized
from shared.contracts.agents import Passage
from shared.contracts.sessions import RetrievedPassage

VECTOR_BYTES: Final = 512 << 20


class VectorIndex(Protocol):
    """Every method may raise EndpointFault. A version's vectors never change, so adding them may be repeated."""

    async def has(self, version: VersionKey) -> bool:
        """Whether all of the version's vectors are there."""

    async def add(self, version: VersionKey, passages: Sequence[Passage], vectors: Matrix) -> None:
        """`vectors`: a row of length 1 for each passage."""

    async def nearest(self, version: VersionKey, vector: Sequence[float], most: int) -> list[RetrievedPassage]:
        """Best first. Passages that point away from the query are left out."""

    async def drop(self, version: VersionKey) -> None: ...

    async def kept(self) -> set[str]:
        """See LocalCache. Raises nothing for a store that is away: its sets are looked for again later."""

    async def discard(self, keys: set[str]) -> None:
        """See LocalCache. Raises nothing, as `kept`."""

    async def close(self) -> None: ...


def similar(passage: Passage, cosine: float) -> RetrievedPassage:
    """The score of a passage that its vector has found, from 0 to 1."""
    return retrieved(passage, min(1.0, max(0.0, cosine)), "vectors")


class MemoryVectors:
    """The longest unused versions are forgotten beyond a size."""

    def __init__(self) -> None:
        self._ready: LRUCache[VersionKey, _Vectors] = LRUCache(VECTOR_BYTES, getsizeof=lambda vectors: vectors.size)

    async def has(self, version: VersionKey) -> bool:
        return version in self._ready

    async def add(self, version: VersionKey, passages: Sequence[Passage], vectors: Matrix) -> None:
        self._ready[version] = _Vectors(passages, vectors)

    async def nearest(self, version: VersionKey, vector: Sequence[float], most: int) -> list[RetrievedPassage]:
        if (vectors := self._ready.get(version)) is None:
            return []
        rows = await asyncio.to_thread(nearest, vectors.matrix, vector, most)
        cosines = await asyncio.to_thread(lambda: vectors.matrix[rows] @ normalized(vector))
        return [similar(vectors.passages[row], float(cosine)) for row, cosine in zip(rows, cosines, strict=True)]

    async def drop(self, version: VersionKey) -> None:
        self._ready.pop(version, None)

    async def kept(self) -> set[str]:
        return {version.knowledge for version in self._ready if version.knowledge}

    async def discard(self, keys: set[str]) -> None:
        for version in [version for version in self._ready if version.knowledge in keys]:
            self._ready.pop(version, None)

    async def close(self) -> None:
        self._ready.clear()


class _Vectors:
    def __init__(self, passages: Sequence[Passage], matrix: Matrix) -> None:
        self.passages = passages
        self.matrix = matrix
        self.size = int(matrix.nbytes) + sum(len(passage.text) for passage in passages)
