"""The default retriever: words and spellings by SQLite FTS5, one index per set of passages.

It is good for about 20,000 passages a version. SQLite, locks and the disk are touched in threads only, never on the
event loop.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from cachetools import LRUCache

from services.agent_worker.knowledge.index import Index, in_memory
from services.agent_worker.knowledge.index_blobs import IndexStore
from services.agent_worker.knowledge.index_files import PART, IndexFiles
from services.agent_worker.knowledge.retriever import VersionKey
from shared.contracts.agents import Passage
from shared.contracts.sessions import RetrievedPassage
from shared.log import get_logger
from shared.single_flight import SingleFlight
from shared.tasks import end_tasks
from shared.tracing.spans import step

log = get_logger()
T = TypeVar("T")

OPEN_INDEXES: Final = 64


class Fts5Retriever:
    """`load` fetches a version's passages when `store` has no index of them; it may be called again after a fault.

    `directory`: where index files are kept; workers may share it. None: a temporary one.
    """

    def __init__(
        self,
        load: Callable[[VersionKey], Awaitable[list[Passage]]],
        directory: Path | None = None,
        *,
        max_bytes: int = 1 << 30,
        store: IndexStore | None = None,
    ) -> None:
        self._load = load
        self._files = IndexFiles(directory, max_bytes)
        self._store = store
        self._storing: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="fts5")
        self._open = _OpenIndexes(OPEN_INDEXES, self._close_later)
        self._builds = SingleFlight[VersionKey, Index]()

    async def publish(self, version: VersionKey, passages: Iterable[Passage]) -> None:
        rows = list(passages)
        with step("index_passages", {"parley.passages": len(rows)}):
            self._keep(version, await self._in_thread(self._files.create, version, rows))
            await self._give(version)

    async def search(self, version: VersionKey, query: str, top_k: int) -> list[RetrievedPassage]:
        if top_k <= 0 or not query.strip():
            return []
        if version.number == 0:
            return await self._in_thread(_search_once, await self._load(version), query, top_k)
        try:
            return await self._in_thread((await self._index(version)).search, query, top_k)
        except sqlite3.ProgrammingError:
            pass  # The index was evicted, and so closed, between the look-up and the search.
        except sqlite3.Error as error:
            log.warning("index_damaged", agent_id=version.agent_id, version=version.number, error=type(error).__name__)
            await self.drop(version)
        return await self._in_thread((await self._index(version)).search, query, top_k)

    async def drop(self, version: VersionKey) -> None:
        if (index := self._open.pop(version, None)) is not None:
            self._close_later(index)
        await self._in_thread(self._files.remove, version)

    async def kept(self) -> set[str]:
        return await self._in_thread(self._files.keys)

    async def discard(self, keys: set[str]) -> None:
        for version in [version for version in self._open if version.knowledge in keys]:
            self._close_later(self._open.pop(version))
        await self._in_thread(self._files.discard, keys)

    async def close(self) -> None:
        await self._builds.end()
        await end_tasks(self._storing)
        for index in self._open.values():
            self._close_later(index)
        self._open.clear()
        await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self._files.close)

    # --- indexes

    async def _index(self, version: VersionKey) -> Index:
        if (index := self._open.get(version)) is not None:
            return index
        # All turns that need the version wait for one build. If one of them is cancelled, the build goes on.
        return await self._builds.run(version, lambda: self._prepare(version))

    async def _prepare(self, version: VersionKey) -> Index:
        index = await self._in_thread(self._files.open, version) or await self._fetched(version)
        if index is None:
            index = await self._in_thread(self._files.create, version, await self._load(version))
            log.info("index_built", agent_id=version.agent_id, version=version.number)
            # For the other workers. The question that has waited for the build does not wait for this.
            task = asyncio.create_task(self._give(version))
            self._storing.add(task)
            task.add_done_callback(self._storing.discard)
        return self._keep(version, index)

    async def _fetched(self, version: VersionKey) -> Index | None:
        if self._store is None:
            return None
        try:
            file = await self._in_thread(self._files.new_file)
            try:
                if await self._store.fetch(version, PART, file):
                    return await self._in_thread(self._files.adopt, version, file)
            finally:
                await self._in_thread(lambda: file.unlink(missing_ok=True))
        except OSError as error:
            log.warning("index_not_written", error=type(error).__name__)
        return None

    async def _give(self, version: VersionKey) -> None:
        if self._store is not None:
            await self._store.store(version, PART, await self._in_thread(self._files.path, version))

    def _keep(self, version: VersionKey, index: Index) -> Index:
        if (old := self._open.pop(version, None)) is not None:
            self._close_later(old)
        self._open[version] = index
        return index

    def _close_later(self, index: Index) -> None:
        """Closing waits for a running search, so it must not happen on the event loop."""
        self._threads.submit(index.close)

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)


class _OpenIndexes(LRUCache[VersionKey, Index]):
    """Closes what it evicts."""

    def __init__(self, size: int, close: Callable[[Index], object]) -> None:
        super().__init__(size)
        self._close = close

    def popitem(self) -> tuple[VersionKey, Index]:
        version, index = super().popitem()
        self._close(index)
        return version, index


def _search_once(passages: list[Passage], query: str, top_k: int) -> list[RetrievedPassage]:
    """A draft's passages may change at any time: their index serves one search."""
    index = in_memory(passages)
    try:
        return index.search(query, top_k)
    finally:
        index.close()
