"""How a version's vectors come to be searchable: they are there, or are fetched, or are made.

They are made once, by the worker that builds the version's index, and stored beside it for all workers. A text that an
earlier version has is not embedded again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from pathlib import Path
from typing import Final

import numpy as np
from cachetools import TTLCache

from services.agent_worker.knowledge.endpoints import BATCH, Embeddings, EndpointFault
from services.agent_worker.knowledge.index_blobs import IndexStore
from services.agent_worker.knowledge.retriever import VersionKey
from services.agent_worker.knowledge.vector_files import VectorFile, part_of
from services.agent_worker.knowledge.vector_index import VectorIndex
from services.agent_worker.knowledge.vector_store import Matrix, VectorStore, digest_of, normalized
from services.agent_worker.metrics import RETRIEVAL_LEG_FAULTS
from shared.contracts.agents import Passage
from shared.log import get_logger
from shared.single_flight import SingleFlight
from shared.tasks import end_tasks
from shared.tracing.spans import step

log = get_logger()

BATCH_TIMEOUT_S: Final = 60.0
# The first question of a version waits for so long for its vectors to be fetched. It waits for the words' index too.
FETCH_TIMEOUT_S: Final = 2.0
# After a build of vectors failed, or nobody had stored them.
RETRY_S: Final = 30.0


class VectorBuilds:
    """`shared` None: vectors are not stored for other workers. `load` fetches a version's passages."""

    def __init__(
        self,
        embeddings: Embeddings,
        store: VectorStore,
        load: Callable[[VersionKey], Awaitable[list[Passage]]],
        vectors: VectorIndex,
        shared: IndexStore | None,
    ) -> None:
        self._embeddings = embeddings
        self._store = store
        self._load = load
        self._vectors = vectors
        self._shared = shared
        self._part = part_of(embeddings.model)
        self._failed: TTLCache[VersionKey, bool] = TTLCache(1024, RETRY_S)
        self._absent: TTLCache[VersionKey, bool] = TTLCache(1024, RETRY_S)
        self._fetches = SingleFlight[VersionKey, bool]()
        self._builds = SingleFlight[VersionKey, None]()
        self._tasks: set[asyncio.Task[None]] = set()

    async def ready(self, version: VersionKey) -> bool:
        """Whether the vectors can be searched. A turn does not wait until they are made. Raises EndpointFault."""
        if await self._vectors.has(version):
            return True
        if version in self._failed:
            return False
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                if await self._fetches.run(version, lambda: self._fetched(version)):
                    return True
        except TimeoutError:
            return False  # The fetch goes on.
        except EndpointFault:
            self._failed[version] = True
            raise
        task = asyncio.create_task(self._builds.run(version, lambda: self.build(version)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return False

    async def build(self, version: VersionKey, passages: list[Passage] | None = None) -> None:
        """Makes a version's vectors. Faults are counted, and the words alone go on answering."""
        try:
            if await self._fetched(version):
                return
            rows = await self._load(version) if passages is None else passages
            if rows:
                await self._make(version, rows)
                log.info("vectors_ready", agent_id=version.agent_id, version=version.number, passages=len(rows))
        except Exception as error:  # An edge: whatever the loader, the endpoint or the disk raise.
            self._failed[version] = True
            leg_failed("vectors", error)

    async def end(self) -> None:
        await self._fetches.end()
        await self._builds.end()
        await end_tasks(self._tasks)
        await asyncio.to_thread(self._store.close)

    # --- stored by another worker

    async def _fetched(self, version: VersionKey) -> bool:
        """Raises EndpointFault."""
        if self._shared is None or version in self._absent:
            return False
        shared = self._shared
        found = await self._read(lambda path: shared.fetch(version, self._part, path))
        if found is None:
            self._absent[version] = True
            return False
        await self._vectors.add(version, found.passages, found.matrix)
        return True

    async def _read(self, fetch: Callable[[Path], Awaitable[bool]]) -> VectorFile | None:
        try:
            path = await asyncio.to_thread(self._store.new_file)
            try:
                return await asyncio.to_thread(VectorFile.read, path) if await fetch(path) else None
            finally:
                await asyncio.to_thread(path.unlink, missing_ok=True)
        except (OSError, ValueError) as error:
            log.warning("vectors_not_fetched", error=type(error).__name__)
            return None

    # --- made here

    async def _make(self, version: VersionKey, passages: Sequence[Passage]) -> None:
        texts = {digest_of(text): text for text in map(_text, passages)}
        digests = [digest_of(_text(passage)) for passage in passages]
        # Before the look-up, so that what is found is not discarded with another set meanwhile.
        await asyncio.to_thread(self._store.use, version.knowledge, digests)
        vectors = await asyncio.to_thread(self._store.known, texts)
        if len(vectors) < len(texts):
            vectors |= await self._of_earlier(version, texts.keys() - vectors.keys())
        missing = {digest: text for digest, text in texts.items() if digest not in vectors}
        vectors |= await self._embedded(version.knowledge, missing)
        if len({len(vector) for vector in vectors.values()}) > 1:
            # The endpoint has another model under the same name.
            vectors = await self._embedded(version.knowledge, texts)
        matrix = await asyncio.to_thread(np.stack, [vectors[digest] for digest in digests])
        await self._give(version, VectorFile(passages, digests, matrix))
        await self._vectors.add(version, passages, matrix)

    async def _of_earlier(self, version: VersionKey, missing: Set[bytes]) -> dict[bytes, Matrix]:
        if (shared := self._shared) is None:
            return {}
        found = await self._read(lambda path: shared.fetch_earlier(version, self._part, path))
        if found is None:
            return {}
        rows = {digest: row for digest, row in zip(found.digests, found.matrix, strict=True) if digest in missing}
        await asyncio.to_thread(self._store.add, version.knowledge, rows)
        return rows

    async def _embedded(self, knowledge: str, texts: Mapping[bytes, str]) -> dict[bytes, Matrix]:
        made: dict[bytes, Matrix] = {}
        todo = list(texts)
        with step("embed_passages", {"parley.passages": len(todo)}):
            for at in range(0, len(todo), BATCH):
                batch = todo[at : at + BATCH]
                vectors = await self._embeddings.embed([texts[digest] for digest in batch], BATCH_TIMEOUT_S)
                rows = {digest: normalized(vector) for digest, vector in zip(batch, vectors, strict=True)}
                # Stored batch by batch: a build that is interrupted goes on where it stopped.
                await asyncio.to_thread(self._store.add, knowledge, rows)
                made |= rows
        return made

    async def _give(self, version: VersionKey, file: VectorFile) -> None:
        """The version's own worker searches them even if they cannot be stored."""
        if self._shared is None:
            return
        try:
            path = await asyncio.to_thread(self._store.new_file)
            try:
                await asyncio.to_thread(file.write, path)
                await self._shared.store(version, self._part, path)
            finally:
                await asyncio.to_thread(path.unlink, missing_ok=True)
        except OSError as error:
            log.warning("vectors_not_stored", error=type(error).__name__)


def leg_failed(leg: str, error: Exception) -> None:
    RETRIEVAL_LEG_FAULTS.labels(leg).inc()
    log.warning("retrieval_leg_failed", leg=leg, error=type(error).__name__)


def _text(passage: Passage) -> str:
    return "\n".join(filter(None, (passage.title, passage.heading, passage.text)))
