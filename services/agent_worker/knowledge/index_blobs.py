"""Index files as blobs: fetched from history, checked, and stored for the other workers."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, Protocol

from services.agent_worker.knowledge.retriever import VersionKey
from services.agent_worker.metrics import INDEX_FILES
from shared.contracts.errors import ApiError
from shared.history_client import HistoryClient
from shared.log import get_logger

log = get_logger()

_PIECE: Final = 1 << 20
# Versions that are asked for a part which a new version may go on from.
_LOOK_BACK: Final = 5


class IndexStore(Protocol):
    """Where the files of indexes are kept for all workers. Every method only logs what goes wrong."""

    async def fetch(self, version: VersionKey, part: str, path: Path) -> bool:
        """Writes the part into the file. False: it is not there, or was damaged on its way."""

    async def fetch_earlier(self, version: VersionKey, part: str, path: Path) -> bool:
        """As `fetch`, of the newest of the version's predecessors that has the part."""

    async def store(self, version: VersionKey, part: str, path: Path) -> None:
        """Keeps the file's bytes, unless the part is there already."""


class IndexBlobs:
    """See IndexStore. Versions without a known set have no blobs."""

    def __init__(self, history: HistoryClient) -> None:
        self._history = history

    async def fetch(self, version: VersionKey, part: str, path: Path) -> bool:
        if not version.knowledge:
            return False
        try:
            found = await self._history.version_knowledge(*version[:3])
            if found.key != version.knowledge or part not in found.parts:
                return False
            with path.open("wb") as file:
                await self._history.fetch_index(version.workspace, version.knowledge, part, file)
            if await asyncio.to_thread(_digest, path) != found.parts[part].digest:
                raise ValueError("the bytes have another digest")
        except (ApiError, OSError, ValueError) as error:
            INDEX_FILES.labels("fetch_failed").inc()
            log.warning("index_not_fetched", agent_id=version.agent_id, part=part, error=type(error).__name__)
            return False
        INDEX_FILES.labels("fetched").inc()
        return True

    async def fetch_earlier(self, version: VersionKey, part: str, path: Path) -> bool:
        for number in range(version.number - 1, max(0, version.number - 1 - _LOOK_BACK), -1):
            try:
                found = await self._history.version_knowledge(version.workspace, version.agent_id, number)
            except ApiError:
                return False  # Only an advantage is lost.
            if part in found.parts:
                return await self.fetch(version._replace(number=number, knowledge=found.key), part, path)
        return False

    async def store(self, version: VersionKey, part: str, path: Path) -> None:
        if not version.knowledge:
            return
        try:
            digest = await asyncio.to_thread(_digest, path)
            await self._history.store_index(version[:3], version.knowledge, part, digest, _pieces(path))
        except (ApiError, OSError) as error:
            INDEX_FILES.labels("store_failed").inc()
            log.warning("index_not_stored", agent_id=version.agent_id, part=part, error=type(error).__name__)
        else:
            INDEX_FILES.labels("stored").inc()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, _PIECE):
            yield piece
