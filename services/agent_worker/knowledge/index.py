"""One index: a SQLite database with a version's passages and FTS5 tables of their terms and of their vocabulary."""

import sqlite3
import threading
from collections.abc import Iterable
from difflib import SequenceMatcher
from typing import Any, Final

import orjson

from services.agent_worker.knowledge import rerank
from services.agent_worker.knowledge.build import MIN_SPELLING, build, titled
from services.agent_worker.knowledge.question import affordable, corrected, expression, quoted, terms_of
from services.agent_worker.knowledge.retriever import MAX_QUERY
from services.agent_worker.knowledge.terms import Folder, Stems
from shared.contracts.agents import Passage
from shared.contracts.sessions import RetrievedPassage
from shared.words import normalized, pieces

# Part of the files' names: a change of the schema or of the terms makes new files.
FORMAT: Final = "5"
TITLE_WEIGHT: Final = 2.0
CANDIDATES: Final = 20
# Words of a question that are looked up in the vocabulary because the index does not have them.
_CORRECTIONS: Final = 4
_LIKE: Final = 0.72

# The rank is computed once per row: the inner ORDER BY names the column and not the expression.
_SEARCH: Final = """
SELECT passage, -rank, passages.number FROM passages
JOIN (SELECT rowid, bm25(words, ?, 1.0) AS rank FROM words WHERE words MATCH ? ORDER BY 2, 1 LIMIT ?) AS found
ON passages.number = found.rowid ORDER BY rank, passages.number
"""
_SIMILAR: Final = "SELECT word FROM vocabulary WHERE vocabulary MATCH ? ORDER BY rank LIMIT 12"


class Index:
    """An open index. Every method may wait for the lock or the disk and belongs into a thread, not on the event loop.

    The lock keeps `close` away from a running search, and the stemmers to one search at a time. Raises sqlite3.Error,
    also on opening, for a file that is no index.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        facts = {name: orjson.loads(value) for name, value in connection.execute("SELECT name, value FROM facts")}
        self._passages: int = facts["passages"]
        self._sampled: int = facts["sampled"]
        self._stems = [Stems(language) for language in facts["languages"]]
        self._folder = Folder()

    def search(self, query: str, top_k: int) -> list[RetrievedPassage]:
        with self._lock:
            found = pieces(normalized(query[:MAX_QUERY]))
            rows, misspelt = self._candidates(found, max(top_k, CANDIDATES))
            passages = [Passage.model_validate_json(row[0]) for row in rows]
            texts = [self._spelled(passage) for passage in passages]
            scores = rerank.order(
                self._question(found), [(row[1], text) for row, text in zip(rows, texts, strict=True)]
            )
        found_by = ["trigrams" if row[2] in misspelt else "words" for row in rows]
        best = sorted(zip(scores, passages, found_by, strict=True), key=lambda each: -each[0])[:top_k]
        return [retrieved(passage, score, leg) for score, passage, leg in best]

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    # --- by words

    def _candidates(self, found: list[str], most: int) -> tuple[list[Any], set[int]]:
        """The rows, and the numbers of those that only words found that are spelled like the question's."""
        asked = terms_of(found, self._stems)
        groups = corrected(asked, self._is_known, self._similar, _CORRECTIONS)
        if not groups:
            return [], set()
        terms = [term for group in groups for term in group]
        counts = self._counts("sample_terms", "term", terms)
        shares = {term: count / self._sampled for term, count in counts.items()}
        chosen = affordable(groups, shares, self._passages)
        rows = self._connection.execute(_SEARCH, (TITLE_WEIGHT, expression(chosen), most)).fetchall()
        plain = [group for group in asked if group in groups]
        return rows, set() if len(plain) == len(asked) else self._unmatched(plain, [row[2] for row in rows])

    def _unmatched(self, groups: list[tuple[str, ...]], numbers: list[int]) -> set[int]:
        """Which of these passages have none of the terms."""
        if not groups or not numbers:
            return set(numbers)
        marks = ", ".join("?" * len(numbers))
        query = f"SELECT rowid FROM words WHERE words MATCH ? AND rowid IN ({marks})"  # noqa: S608
        return set(numbers) - {row[0] for row in self._connection.execute(query, (expression(groups), *numbers))}

    def _is_known(self, term: str) -> bool:
        query = "SELECT 1 FROM words WHERE words MATCH ? LIMIT 1"
        return self._connection.execute(query, (quoted(term),)).fetchone() is not None

    def _similar(self, word: str) -> list[str]:
        if len(word) < MIN_SPELLING or not word.isalpha():
            return []
        trigrams = " OR ".join(f'"{word[at : at + 3]}"' for at in range(len(word) - 2))
        near = SequenceMatcher(b=word, autojunk=False)
        ratios = []
        for (other,) in self._connection.execute(_SIMILAR, (trigrams,)):
            near.set_seq1(other)
            ratios.append((near.ratio(), other))
        return [other for ratio, other in sorted(ratios, reverse=True)[:3] if ratio >= _LIKE]

    # --- by spelling

    def _spelled(self, passage: Passage) -> str:
        return rerank.spelled(pieces(normalized(f"{titled(passage)} {passage.text}")), self._folder)

    def _question(self, found: list[str]) -> rerank.Question:
        words = [self._folder[piece] for piece in found]
        return rerank.Question(self._weights(rerank.grams_of(words)), self._weights(rerank.pairs_of(words)))

    def _weights(self, grams: list[str]) -> dict[str, float]:
        distinct = list(dict.fromkeys(grams))[: rerank.MAX_GRAMS]
        counts = self._counts("sample_grams", "gram", distinct)
        return {gram: rerank.rarity(counts.get(gram, 0), self._sampled) for gram in distinct}

    def _counts(self, table: str, column: str, values: list[str]) -> dict[str, int]:
        marks = ", ".join("?" * len(values))
        query = f"SELECT {column}, passages FROM {table} WHERE {column} IN ({marks})"  # noqa: S608
        return dict(self._connection.execute(query, values))


def retrieved(passage: Passage, score: float, *legs: str) -> RetrievedPassage:
    members = {name: value for name, value in dict(passage).items() if name in RetrievedPassage.model_fields}
    return RetrievedPassage(**(members | {"id": passage.name, "score": round(score, 9), "legs": legs}))


def in_memory(passages: Iterable[Passage]) -> Index:
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    build(connection, passages)
    return Index(connection)
