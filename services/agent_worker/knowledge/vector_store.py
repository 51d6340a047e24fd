"""Vectors on disk, one per digest of a text, and the matrix of a version's passages. Needs NumPy."""

import asyncio
import hashlib
import os
import sqlite3
import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from services.agent_worker.knowledge.index_files import UNFINISHED
from services.agent_worker.own_folder import OwnFolder

Matrix = npt.NDArray[np.float32]

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS vectors (digest BLOB PRIMARY KEY, vector BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS uses (knowledge TEXT, digest BLOB, PRIMARY KEY (knowledge, digest)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS uses_by_digest ON uses (digest);
"""


def space_of(model: str) -> str:
    """Where the vectors of an embedding model are kept: others cannot be compared with them."""
    return hashlib.sha256(model.encode()).hexdigest()[:16]


def digest_of(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


class VectorStore:
    """The vectors of one embedding model. Its plain methods touch the disk and belong into threads.

    A text that several versions or agents hold is embedded once. A vector is kept while a set of passages uses it: one
    without a use goes when a set is discarded. Workers may share the directory. None: a temporary one.
    """

    def __init__(self, directory: Path | None, model: str, *, max_bytes: int = 1 << 30) -> None:
        self._temporary = OwnFolder("parley-vectors-") if directory is None else None
        folder = self._temporary.path if self._temporary is not None else directory
        assert folder is not None
        self._path = folder / f"{space_of(model)}.vectors"
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._opened: sqlite3.Connection | None = None

    def new_file(self) -> Path:
        """An empty file with a name of its own, which the caller removes."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(suffix=UNFINISHED, dir=self._path.parent)
        os.close(handle)
        return Path(name)

    def known(self, digests: Iterable[bytes]) -> dict[bytes, Matrix]:
        found: dict[bytes, Matrix] = {}
        with self._lock:
            for digest in digests:
                row = self._connection().execute("SELECT vector FROM vectors WHERE digest = ?", (digest,)).fetchone()
                if row is not None:
                    found[digest] = np.frombuffer(row[0], dtype=np.float32)
        return found

    def use(self, knowledge: str, digests: Iterable[bytes]) -> None:
        """Says that the set uses these texts, whether their vectors are here yet or not."""
        rows = [(knowledge, digest) for digest in digests]
        with self._lock, self._connection() as connection:
            connection.executemany("INSERT OR IGNORE INTO uses VALUES (?, ?)", rows)

    def add(self, knowledge: str, vectors: Mapping[bytes, Sequence[float] | Matrix]) -> None:
        """Vectors of length 1 that the set uses. If it was discarded meanwhile, `kept` names it again."""
        rows = [(digest, np.asarray(vector, np.float32).tobytes()) for digest, vector in vectors.items()]
        with self._lock, self._connection() as connection:
            if self._used() > self._max_bytes:
                # Those in use are in memory, and the others can be made again. SQLite uses the file's pages again.
                connection.execute("DELETE FROM vectors")
                connection.execute("DELETE FROM uses")
            connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)
            connection.executemany(
                "INSERT OR IGNORE INTO uses VALUES (?, ?)", [(knowledge, digest) for digest in vectors]
            )

    async def kept(self) -> set[str]:
        """See LocalCache."""
        return await asyncio.to_thread(self._keys)

    async def discard(self, keys: set[str]) -> None:
        """See LocalCache. What other sets use stays."""
        await asyncio.to_thread(self._discard, keys)

    def _keys(self) -> set[str]:
        if self._opened is None and not self._path.exists():
            return set()
        with self._lock:
            rows = self._connection().execute("SELECT DISTINCT knowledge FROM uses WHERE knowledge != ''").fetchall()
        return {row[0] for row in rows}

    def _discard(self, keys: set[str]) -> None:
        with self._lock:
            with self._connection() as connection:
                connection.executemany("DELETE FROM uses WHERE knowledge = ?", [(key,) for key in keys])
                connection.execute("DELETE FROM vectors WHERE digest NOT IN (SELECT digest FROM uses)")
            # The log holds what was deleted until it is written back. Another worker's reading may hold it up: the
            # log is emptied when the last worker closes the file, at the latest.
            self._connection().execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        with self._lock:
            if self._opened is not None:
                self._opened.close()
            if self._temporary is not None:
                self._temporary.remove()

    def _used(self) -> int:
        """Bytes of the file in use: it never shrinks."""
        pages, free, size = (
            self._connection().execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def _connection(self) -> sqlite3.Connection:
        if self._opened is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._opened = sqlite3.connect(self._path, check_same_thread=False, timeout=10)
            self._opened.execute("PRAGMA journal_mode = WAL")
            # Deleted rows are overwritten, not only unlinked.
            self._opened.execute("PRAGMA secure_delete = ON")
            self._opened.executescript(_SCHEMA)
        return self._opened


def normalized(vector: Sequence[float]) -> Matrix:
    """Of length 1, so that a product of two is their cosine."""
    row = np.asarray(vector, dtype=np.float32)
    length = float(np.linalg.norm(row))
    return row / np.float32(length) if length > 0 else row


def nearest(matrix: Matrix, query: Sequence[float], most: int) -> list[int]:
    """The numbers of the rows nearest to a query, best first. Rows that point away from it are left out."""
    if matrix.shape[1] != len(query):
        return []
    similarities = matrix @ normalized(query)
    count = min(most, len(similarities))
    best = np.argpartition(-similarities, count - 1)[:count]
    return [int(row) for row in best[np.argsort(-similarities[best], kind="stable")] if similarities[row] > 0]
