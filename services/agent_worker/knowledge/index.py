"""One index: a SQLite database with a version's passages and an FTS5 table of their words."""

import sqlite3
import threading
from collections.abc import Iterable
from typing import Final

from services.agent_worker.knowledge.terms import TOKENIZER, indexed
from shared.contracts.agents import Passage
from shared.contracts.sessions import RetrievedPassage

# Part of the files' names: a change of the schema or of the terms makes new files.
FORMAT: Final = "3"
TITLE_WEIGHT: Final = 2.0

_SCHEMA: Final = f"""
CREATE TABLE passages (
    number INTEGER PRIMARY KEY, id TEXT, source_id TEXT, title TEXT, heading TEXT, url TEXT, page INTEGER, text TEXT
);
CREATE VIRTUAL TABLE words USING fts5(title, text, content='', tokenize="{TOKENIZER}");
"""
# The members of a passage, in the order of the query below.
_COLUMNS: Final = ("id", "source_id", "title", "heading", "url", "page", "text")
# The rank is computed once per row: the inner ORDER BY names the column and not the expression.
_SEARCH: Final = """
SELECT id, source_id, title, heading, url, page, text, -rank AS score FROM passages
JOIN (SELECT rowid, bm25(words, ?, 1.0) AS rank FROM words WHERE words MATCH ? ORDER BY 2, 1 LIMIT ?) AS found
ON passages.number = found.rowid ORDER BY rank, passages.number
"""


class Index:
    """An open index. Every method may wait for the lock or the disk and belongs into a thread, not on the event loop.

    SQLite is built for many threads here. The lock keeps `close` away from a running search.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def search(self, expression: str, top_k: int) -> list[RetrievedPassage]:
        with self._lock:
            rows = self._connection.execute(_SEARCH, (TITLE_WEIGHT, expression, top_k)).fetchall()
        return [RetrievedPassage(**dict(zip(_COLUMNS, row, strict=False)), score=round(row[-1], 9)) for row in rows]

    def close(self) -> None:
        with self._lock:
            self._connection.close()


def build(connection: sqlite3.Connection, passages: Iterable[Passage]) -> None:
    """Fills an empty database."""
    connection.executescript(_SCHEMA)
    with connection:
        for number, passage in enumerate(passages, 1):
            place = (passage.source_id, passage.title, passage.heading, passage.url, passage.page)
            row = (number, passage.name, *place, passage.text)
            connection.execute("INSERT INTO passages VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            connection.execute(
                "INSERT INTO words (rowid, title, text) VALUES (?, ?, ?)",
                (number, indexed(passage.title), indexed(passage.text)),
            )
        connection.execute("INSERT INTO words (words) VALUES ('optimize')")


def in_memory(passages: Iterable[Passage]) -> Index:
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    build(connection, passages)
    return Index(connection)
