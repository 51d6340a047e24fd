"""Answers from the set of passages that a version has now: a purged source must not go on being quoted.

A version's set changes only when a source is purged. Then history publishes a notice. A notice may be lost, so every
`CHECK_S` seconds history is asked about the versions in use and about the files on the disk.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final, Protocol

from cachetools import LRUCache

from services.agent_worker.knowledge.retriever import Retriever, VersionKey
from shared.broker.pubsub import PubSub
from shared.contracts.agents import Passage
from shared.contracts.errors import ApiError
from shared.contracts.indexes import MAX_LOOKED_UP, LookUpSets, VersionName
from shared.contracts.sessions import RetrievedPassage
from shared.history_client import HistoryClient
from shared.knowledge_notices import CHANNEL, parse
from shared.log import get_logger
from shared.tasks import BackgroundLoops, end_tasks

log = get_logger()

CHECK_S: Final = 15.0
IN_USE: Final = 512


class LocalCache(Protocol):
    """What a worker keeps of sets, in memory, on its disk and in stores of its own."""

    async def kept(self) -> set[str]:
        """The keys of the sets of which there is anything."""

    async def discard(self, keys: set[str]) -> None:
        """Keeps nothing of these sets any more."""


class CurrentRetriever:
    """A retriever over another one, which is given versions with the keys of their sets, and is closed with this.

    `start` it, and supervise its loop.
    """

    def __init__(
        self, inner: Retriever, history: HistoryClient, stream_url: str, caches: Sequence[LocalCache] = ()
    ) -> None:
        self._inner = inner
        self._history = history
        self._caches = caches
        self._known: LRUCache[VersionKey, str] = LRUCache(IN_USE)
        self._pubsub = PubSub(stream_url)
        self._pubsub.keep(CHANNEL.encode(), self)
        self.loops = BackgroundLoops()
        self._changed = asyncio.Event()
        self._dropping: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self.loops.start("knowledge", self.run())

    # --- the retriever

    async def publish(self, version: VersionKey, passages: Iterable[Passage]) -> None:
        await self._inner.publish(version, passages)

    async def search(self, version: VersionKey, query: str, top_k: int) -> list[RetrievedPassage]:
        return await self._inner.search(await self._resolved(version), query, top_k)

    async def drop(self, version: VersionKey) -> None:
        key = self._known.pop(version, "")
        await self._inner.drop(version._replace(knowledge=key))

    async def close(self) -> None:
        await self.loops.end()
        await end_tasks(self._dropping)
        await self._inner.close()

    async def _resolved(self, version: VersionKey) -> VersionKey:
        """Raises ApiError."""
        if version.number == 0 or version.knowledge:
            return version
        key = self._known.get(version)
        if key is None:
            key = (await self._history.version_knowledge(*version[:3])).key
            self._known[version] = key
        return version._replace(knowledge=key)

    # --- changes

    def deliver(self, message: bytes) -> None:
        self._forget([version for version in self._known if version[:2] == parse(message)])
        self._changed.set()

    def lose(self) -> None:
        """Notices may have been lost: the next search of each version asks history."""
        self._known.clear()

    def _forget(self, versions: list[VersionKey]) -> None:
        for version in versions:
            old = version._replace(knowledge=self._known.pop(version))
            task = asyncio.create_task(self._inner.drop(old))
            self._dropping.add(task)
            task.add_done_callback(self._dropping.discard)

    async def run(self) -> None:
        """Until it is cancelled."""
        tasks = [asyncio.create_task(work) for work in (self._pubsub.run(), self._check_on())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await end_tasks(tasks)

    async def _check_on(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_S):
                    await self._changed.wait()
            self._changed.clear()
            try:
                await self.check()
            except ApiError as error:
                log.warning("knowledge_not_checked", error=str(error.code))
            except Exception:
                log.exception("knowledge_check_failed")

    async def check(self) -> None:
        """Forgets sets that versions do not have any more, and removes what is kept of sets that are gone.

        Raises ApiError, OSError.
        """
        known = dict(self._known)
        names = tuple(VersionName(workspace=v.workspace, agent_id=v.agent_id, number=v.number) for v in known)
        for cache in self._caches or (None,):
            kept = sorted(await cache.kept()) if cache is not None else []
            for start in range(0, max(1, len(kept)), MAX_LOOKED_UP):
                asked = tuple(kept[start : start + MAX_LOOKED_UP])
                found = await self._history.current_sets(LookUpSets(versions=names, keys=asked))
                if cache is not None and (gone := set(asked) - set(found.keys)):
                    await cache.discard(gone)
                now = dict(zip(known, found.versions, strict=True))
                self._forget([version for version, key in now.items() if self._known.get(version, key) != key])
