"""Fills an index's database from a version's passages."""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final

import orjson

from services.agent_worker.knowledge.languages import PLAIN, stemmer_of
from services.agent_worker.knowledge.rerank import grams, spelled
from services.agent_worker.knowledge.terms import TOKENIZER, Folder, Stems, indexed
from shared.contracts.agents import Passage
from shared.words import normalized, pieces, separated

# `sample_grams` and `sample_terms` count the passages of a sample that have a gram or a term.
SCHEMA: Final = f"""
CREATE TABLE passages (number INTEGER PRIMARY KEY, passage BLOB);
CREATE VIRTUAL TABLE words USING fts5(title, text, content='', tokenize='{TOKENIZER}');
CREATE VIRTUAL TABLE vocabulary USING fts5(word, tokenize='trigram', detail='none');
CREATE TABLE sample_grams (gram TEXT PRIMARY KEY, passages INTEGER) WITHOUT ROWID;
CREATE TABLE sample_terms (term TEXT PRIMARY KEY, passages INTEGER) WITHOUT ROWID;
CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
"""
SAMPLE: Final = 256
# Shorter words have no trigrams in common with their misspellings.
MIN_SPELLING: Final = 4
_MAX_LANGUAGES: Final = 4
_HEAD: Final = 400
# What SQLite gathers in memory before it writes a part of the index. Its 1 MiB makes hundreds of parts, which are then
# merged several times over: 2.7 s for 20,000 passages in Thai instead of 1.1. A SQLite that does not know the option
# is slower.
_HASH_BYTES: Final = 32 << 20


def build(connection: sqlite3.Connection, passages: Iterable[Passage]) -> None:
    """Fills an empty database."""
    rows = list(passages)
    connection.executescript(SCHEMA)
    with connection:
        _Builder(connection, rows).run()


def titled(passage: Passage) -> str:
    return f"{passage.title} {passage.heading}" if passage.heading else passage.title


class _Builder:
    def __init__(self, connection: sqlite3.Connection, passages: list[Passage]) -> None:
        self._connection = connection
        self._passages = passages
        self._stems: dict[str, Stems] = {}
        self._folder = Folder()
        self._step = max(1, len(passages) // SAMPLE)
        self._grams: Counter[str] = Counter()
        self._sample_terms: Counter[str] = Counter()
        self._sampled = 0

    def run(self) -> None:
        languages = self._languages()
        usual = Counter(language for language in languages if language is not None).most_common(_MAX_LANGUAGES)
        kept = [language for language, _ in usual] or [PLAIN]
        self._stems = {language: Stems(language) for language in kept}
        commonest = self._stems[kept[0]]
        with suppress(sqlite3.OperationalError):
            self._connection.execute("INSERT INTO words (words, rank) VALUES ('hashsize', ?)", (_HASH_BYTES,))
        self._connection.executemany("INSERT INTO passages VALUES (?, ?)", self._stored())
        self._connection.executemany(
            "INSERT INTO words (rowid, title, text) VALUES (?, ?, ?)",
            (
                self._terms_of(number, passage, self._stems.get(language or kept[0], commonest))
                for number, (passage, language) in enumerate(zip(self._passages, languages, strict=True), 1)
            ),
        )
        self._connection.execute("INSERT INTO words (words) VALUES ('optimize')")
        self._add_vocabulary()
        self._add_sample()
        facts = {"languages": kept, "passages": len(self._passages), "sampled": self._sampled}
        self._connection.executemany(
            "INSERT INTO facts VALUES (?, ?)", [(n, orjson.dumps(v)) for n, v in facts.items()]
        )

    def _languages(self) -> list[str | None]:
        """Of each passage. None: it does not tell, and is read as the index's commonest language."""
        found: list[str | None] = []
        for passage in self._passages:
            head = normalized(passage.text[:_HEAD])
            found.append(stemmer_of(head, separated(head).split()))
        return found

    def _stored(self) -> Iterator[tuple[int, str]]:
        return ((number, passage.model_dump_json()) for number, passage in enumerate(self._passages, 1))

    def _terms_of(self, number: int, passage: Passage, stems: Stems) -> tuple[int, str, str]:
        title, text = normalized(titled(passage)), normalized(passage.text)
        title_terms, text_terms = indexed(title, stems), indexed(text, stems)
        if number % self._step == 0 and self._sampled < SAMPLE:
            self._sampled += 1
            self._grams.update(grams(spelled(pieces(title) + pieces(text), self._folder)))
            self._sample_terms.update({*title_terms.split(), *text_terms.split()})
        return number, title_terms, text_terms

    def _add_vocabulary(self) -> None:
        words = {
            term
            for stems in self._stems.values()
            for term in stems.values()
            if len(term) >= MIN_SPELLING and term.isalpha()
        }
        self._connection.executemany("INSERT INTO vocabulary VALUES (?)", [(word,) for word in sorted(words)])

    def _add_sample(self) -> None:
        for table, counts in (("sample_grams", self._grams), ("sample_terms", self._sample_terms)):
            often = [(term, count) for term, count in counts.items() if count > 1]
            self._connection.executemany(f"INSERT INTO {table} VALUES (?, ?)", sorted(often))  # noqa: S608
