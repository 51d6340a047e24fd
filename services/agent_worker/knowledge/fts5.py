"""BM25 over a version's passages by SQLite FTS5: one index file per version, built on first use, in a directory of bounded size.

Good to some 20,000 passages a version. Scripts without spaces are cut into single characters, and asked for in pairs.
"""

import asyncio
import hashlib
import os
import re
import sqlite3
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Final, TypeVar

from services.agent_worker.knowledge.retriever import MAX_QUERY, VersionKey
from shared.contracts.agents import Passage
from shared.contracts.sessions import RetrievedPassage
from shared.log import get_logger

log = get_logger()
T = TypeVar("T")

MAX_TERMS: Final = 64
TITLE_WEIGHT: Final = 2.0
OPEN_INDEXES: Final = 64
FORMAT: Final = "1"

# Han, Hiragana, Katakana, Thai, Lao, Khmer, Burmese.
_UNSPACED: Final = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_RUN: Final = re.compile(rf"{_UNSPACED.pattern}+|\w+")
_WORD: Final = re.compile(r"\w+")
_SCHEMA: Final = """
CREATE TABLE passages (id INTEGER PRIMARY KEY, source_id TEXT, title TEXT, url TEXT, text TEXT);
CREATE VIRTUAL TABLE words USING fts5(title, text, content='', tokenize="porter unicode61 remove_diacritics 2");
"""
_SEARCH: Final = """
SELECT source_id, title, url, text, score FROM passages
JOIN (SELECT rowid, -bm25(words, ?, 1.0) AS score FROM words WHERE words MATCH ? ORDER BY bm25(words, ?, 1.0), rowid LIMIT ?) AS found
ON passages.id = found.rowid ORDER BY score DESC, passages.id
"""


def spaced(text: str) -> str:
    """Text whose unspaced scripts the tokenizer sees character by character."""
    return _UNSPACED.sub(r" \g<0> ", text)


def match_expression(query: str) -> str:
    """A person's text as an FTS5 expression: quoted terms joined by OR, so that nothing in it is an operator. Empty: no terms."""
    terms: dict[str, None] = {}
    for run in _RUN.findall(query[:MAX_QUERY].replace("\0", " ")):
        if _UNSPACED.match(run):
            pairs = [f"{run[at]} {run[at + 1]}" for at in range(len(run) - 1)] or [run]
            terms.update(dict.fromkeys(pairs))
        else:
            # \w takes in neighbours of other scripts; each word of them is a term.
            terms.update(dict.fromkeys(_WORD.findall(spaced(run).lower())))
        if len(terms) >= MAX_TERMS:
            break
    return " OR ".join(f'"{term}"' for term in list(terms)[:MAX_TERMS])


class _Index:
    """One open index. SQLite is built for many threads here; the lock keeps `close` away from a running search."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def search(self, expression: str, top_k: int) -> list[RetrievedPassage]:
        with self._lock:
            rows = self._connection.execute(_SEARCH, (TITLE_WEIGHT, expression, TITLE_WEIGHT, top_k)).fetchall()
        return [
            RetrievedPassage(source_id=source_id, title=title, url=url, text=text, score=round(score, 9))
            for source_id, title, url, text, score in rows
        ]

    def close(self) -> None:
        with self._lock:
            self._connection.close()


def build(connection: sqlite3.Connection, passages: Iterable[Passage]) -> None:
    """Fills an empty database."""
    connection.executescript(_SCHEMA)
    with connection:
        for number, passage in enumerate(passages, 1):
            row = (number, passage.source_id, passage.title, passage.url, passage.text)
            connection.execute("INSERT INTO passages VALUES (?, ?, ?, ?, ?)", row)
            connection.execute(
                "INSERT INTO words (rowid, title, text) VALUES (?, ?, ?)",
                (number, spaced(passage.title), spaced(passage.text)),
            )
        connection.execute("INSERT INTO words (words) VALUES ('optimize')")


class Fts5Retriever:
    """The default `Retriever`. `load` fetches a version's passages when no index is there; it may be asked again after a fault.

    `directory`: where index files are kept; workers may share it. None: a temporary one. Searches run in threads.
    """

    def __init__(
        self,
        load: Callable[[VersionKey], Awaitable[list[Passage]]],
        directory: Path | None = None,
        *,
        max_bytes: int = 1 << 30,
    ) -> None:
        self._load = load
        self._directory = directory
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._max_bytes = max_bytes
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="fts5")
        self._open: OrderedDict[VersionKey, _Index] = OrderedDict()
        self._building: dict[VersionKey, asyncio.Task[_Index]] = {}

    async def publish(self, version: VersionKey, passages: Iterable[Passage]) -> None:
        rows = list(passages)
        self._keep(version, await self._in_thread(self._created, version, rows))

    async def search(self, version: VersionKey, query: str, top_k: int) -> list[RetrievedPassage]:
        expression = match_expression(query)
        if not expression or top_k <= 0:
            return []
        if version.number == 0:
            index = await self._in_thread(_in_memory, await self._load(version))
            try:
                return await self._in_thread(index.search, expression, top_k)
            finally:
                index.close()
        try:
            return await self._in_thread((await self._index(version)).search, expression, top_k)
        except sqlite3.ProgrammingError:
            pass  # Evicted, and so closed, between the look-up and the search.
        except sqlite3.Error as error:
            log.warning("index_damaged", agent_id=version.agent_id, version=version.number, error=type(error).__name__)
            await self.drop(version)
        return await self._in_thread((await self._index(version)).search, expression, top_k)

    async def drop(self, version: VersionKey) -> None:
        if (index := self._open.pop(version, None)) is not None:
            index.close()
        with suppress(OSError):
            self._path(version).unlink(missing_ok=True)

    async def close(self) -> None:
        for task in list(self._building.values()):
            task.cancel()
        await asyncio.gather(*self._building.values(), return_exceptions=True)
        await asyncio.to_thread(self._threads.shutdown)
        for index in self._open.values():
            index.close()
        self._open.clear()
        if self._temporary is not None:
            self._temporary.cleanup()

    # --- indexes

    async def _index(self, version: VersionKey) -> _Index:
        if (index := self._open.get(version)) is not None:
            self._open.move_to_end(version)
            return index
        # All turns that need the version wait for one build, and a turn that is cancelled meanwhile does not end it.
        task = self._building.get(version)
        if task is None:
            task = self._building[version] = asyncio.create_task(self._prepare(version))
            task.add_done_callback(lambda done: self._prepared(version, done))
        return await asyncio.shield(task)

    def _prepared(self, version: VersionKey, task: "asyncio.Task[_Index]") -> None:
        del self._building[version]
        if not task.cancelled() and task.exception() is not None:
            log.debug("index_not_built", agent_id=version.agent_id, version=version.number)

    async def _prepare(self, version: VersionKey) -> _Index:
        index = await self._in_thread(self._open_file, version)
        if index is None:
            index = await self._in_thread(self._created, version, await self._load(version))
            log.info("index_built", agent_id=version.agent_id, version=version.number)
        return self._keep(version, index)

    def _keep(self, version: VersionKey, index: _Index) -> _Index:
        if (old := self._open.pop(version, None)) is not None:
            old.close()
        self._open[version] = index
        while len(self._open) > OPEN_INDEXES:
            _, oldest = self._open.popitem(last=False)
            oldest.close()
        return index

    @property
    def _index_directory(self) -> Path:
        """Made on first use: most workers of an installation without knowledge need none."""
        if self._directory is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="parley-knowledge-")
            self._directory = Path(self._temporary.name)
        self._directory.mkdir(parents=True, exist_ok=True)
        return self._directory

    def _path(self, version: VersionKey) -> Path:
        name = hashlib.sha256(
            "\0".join((FORMAT, version.workspace, version.agent_id, str(version.number))).encode()
        ).hexdigest()[:40]
        return self._index_directory / f"{name}.sqlite"

    def _open_file(self, version: VersionKey) -> _Index | None:
        try:
            path = self._path(version)
            os.utime(path)  # Its age is what eviction goes by.
            connection = sqlite3.connect(
                f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
            )
        except (OSError, sqlite3.Error):
            return None
        return _Index(connection)

    def _created(self, version: VersionKey, passages: list[Passage]) -> _Index:
        """A full disk must not silence an agent: then the index lives in memory."""
        try:
            return self._create(version, passages)
        except (OSError, sqlite3.OperationalError) as error:
            log.warning("index_not_written", error=type(error).__name__)
            return _in_memory(passages)

    def _create(self, version: VersionKey, passages: list[Passage]) -> _Index:
        """Written under another name and moved: another worker never sees half an index."""
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
        index = self._open_file(version)
        if index is None:
            raise OSError("the index has just been written and cannot be opened")
        return index

    def _evict(self, keep: Path) -> None:
        """The longest unused files go; whoever has one open keeps reading it."""
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

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)


def _in_memory(passages: list[Passage]) -> _Index:
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    build(connection, passages)
    return _Index(connection)
