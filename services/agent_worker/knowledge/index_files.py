"""The directory of index files: one file per agent version, the longest unused ones removed beyond a size."""

import hashlib
import os
import sqlite3
import tempfile
import threading
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path

from services.agent_worker.knowledge.build import build
from services.agent_worker.knowledge.index import FORMAT, Index, in_memory
from services.agent_worker.knowledge.retriever import VersionKey
from shared.contracts.agents import Passage
from shared.log import get_logger

log = get_logger()


class IndexFiles:
    """Its methods read and write the disk and belong into threads. Several threads may call them, and several workers
    may share the directory.

    `directory` None: a temporary one, made on first use, because most workers of an installation without knowledge
    need none.
    """

    def __init__(self, directory: Path | None, max_bytes: int) -> None:
        self._directory = directory
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._making = threading.Lock()
        self._max_bytes = max_bytes

    def open(self, version: VersionKey) -> Index | None:
        try:
            path = self._path(version)
            os.utime(path)  # Eviction goes by the age.
            connection = sqlite3.connect(
                f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
            )
        except (OSError, sqlite3.Error):
            return None
        try:
            return Index(connection)
        except (sqlite3.Error, ValueError, KeyError) as error:
            connection.close()
            log.warning("index_damaged", error=type(error).__name__)
            return None

    def create(self, version: VersionKey, passages: Iterable[Passage]) -> Index:
        """If the disk is full or cannot be written, the index lives in memory."""
        rows = list(passages)
        try:
            return self._create(version, rows)
        except (OSError, sqlite3.OperationalError) as error:
            log.warning("index_not_written", error=type(error).__name__)
            return in_memory(rows)

    def remove(self, version: VersionKey) -> None:
        with suppress(OSError):
            self._path(version).unlink(missing_ok=True)

    def close(self) -> None:
        if self._temporary is not None:
            self._temporary.cleanup()

    def _path(self, version: VersionKey) -> Path:
        name = "\0".join((FORMAT, version.workspace, version.agent_id, str(version.number)))
        return self._made_directory() / f"{hashlib.sha256(name.encode()).hexdigest()[:40]}.sqlite"

    def _made_directory(self) -> Path:
        with self._making:
            if self._directory is None:
                self._temporary = tempfile.TemporaryDirectory(prefix="parley-knowledge-")
                self._directory = Path(self._temporary.name)
        self._directory.mkdir(parents=True, exist_ok=True)
        return self._directory

    def _create(self, version: VersionKey, passages: list[Passage]) -> Index:
        """The file is written under another name and then moved, so another worker never sees half an index."""
        path = self._path(version)
        handle, name = tempfile.mkstemp(suffix=".building", dir=path.parent)
        os.close(handle)
        try:
            with closing(sqlite3.connect(name)) as connection:
                connection.execute("PRAGMA journal_mode = OFF")
                connection.execute("PRAGMA synchronous = OFF")
                build(connection, passages)
            Path(name).replace(path)
        finally:
            Path(name).unlink(missing_ok=True)
        self._evict(keep=path)
        index = self.open(version)
        if index is None:
            raise OSError("the index has just been written and cannot be opened")
        return index

    def _evict(self, keep: Path) -> None:
        """Removes the longest unused files. A worker that has one open keeps reading it."""
        found: list[tuple[float, int, Path]] = []
        for path in keep.parent.glob("*.sqlite"):
            with suppress(OSError):
                stat = path.stat()
                found.append((stat.st_mtime, stat.st_size, path))
        size = sum(each[1] for each in found)
        for _, length, path in sorted(found):
            if size <= self._max_bytes:
                return
            if path != keep:
                path.unlink(missing_ok=True)
                size -= length
