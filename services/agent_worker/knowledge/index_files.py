"""The directory of index files: one file per agent version, the longest unused ones removed beyond a size."""

import hashlib
import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from services.agent_worker.knowledge.build import build
from services.agent_worker.knowledge.index import FORMAT, Index, in_memory
from services.agent_worker.knowledge.retriever import VersionKey
from services.agent_worker.own_folder import OwnFolder
from shared.contracts.agents import Passage
from shared.log import get_logger

log = get_logger()

PART: Final = f"fts5-{FORMAT}"
_OF_SET: Final = f".{PART}.sqlite"
UNFINISHED: Final = ".building"
# No build takes so long: its process was killed.
_ABANDONED_S: Final = 3600.0


class IndexFiles:
    """Its methods read and write the disk and belong into threads. Several threads may call them, and several workers
    may share the directory.

    `directory` None: a temporary one, made on first use, because most workers of an installation without knowledge
    need none.
    """

    def __init__(self, directory: Path | None, max_bytes: int) -> None:
        self._directory = directory
        self._temporary: OwnFolder | None = None
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

    def keys(self) -> set[str]:
        """Of the sets whose files are here, of any format."""
        found = self._made_directory().glob("*.fts5-*.sqlite") if self._directory is not None else ()
        return {path.name.partition(".")[0] for path in found}

    def discard(self, keys: set[str]) -> None:
        for key in keys:
            for path in self._made_directory().glob(f"{key}.fts5-*.sqlite"):
                path.unlink(missing_ok=True)

    def path(self, version: VersionKey) -> Path:
        """Of the file that `create` or `adopt` has written."""
        return self._path(version)

    def new_file(self) -> Path:
        """An empty file with a name of its own, for `adopt`."""
        handle, name = tempfile.mkstemp(suffix=UNFINISHED, dir=self._made_directory())
        os.close(handle)
        return Path(name)

    def adopt(self, version: VersionKey, fetched: Path) -> Index | None:
        """Takes a fetched file for the version's. None: it is no index."""
        path = self._path(version)
        fetched.replace(path)
        self._evict(keep=path)
        return self.open(version)

    def close(self) -> None:
        if self._temporary is not None:
            self._temporary.remove()

    def _path(self, version: VersionKey) -> Path:
        if version.knowledge:
            return self._made_directory() / f"{version.knowledge}{_OF_SET}"
        name = "\0".join((FORMAT, version.workspace, version.agent_id, str(version.number)))
        return self._made_directory() / f"{hashlib.sha256(name.encode()).hexdigest()[:40]}.sqlite"

    def _made_directory(self) -> Path:
        with self._making:
            if self._directory is None:
                self._temporary = OwnFolder("parley-knowledge-")
                self._directory = self._temporary.path
        self._directory.mkdir(parents=True, exist_ok=True)
        return self._directory

    def _create(self, version: VersionKey, passages: list[Passage]) -> Index:
        """The file is written under another name and then moved, so another worker never sees half an index."""
        path = self._path(version)
        name = self.new_file()
        try:
            with closing(sqlite3.connect(name)) as connection:
                connection.execute("PRAGMA journal_mode = OFF")
                connection.execute("PRAGMA synchronous = OFF")
                build(connection, passages)
            name.replace(path)
        finally:
            name.unlink(missing_ok=True)
        self._evict(keep=path)
        index = self.open(version)
        if index is None:
            raise OSError("the index has just been written and cannot be opened")
        return index

    def _evict(self, keep: Path) -> None:
        """Removes the longest unused files. A worker that has one open keeps reading it."""
        for path in keep.parent.glob(f"*{UNFINISHED}"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _ABANDONED_S:
                    path.unlink()
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
