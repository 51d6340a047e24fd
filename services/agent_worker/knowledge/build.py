"""Fills an index's database from a version's passages."""

import sqlite3
from collections import Counter
from collections.abc import Iterable
from typing import Final

import orjson

from services.agent_worker.knowledge.languages import PLAIN, stemmer_of
from services.agent_worker.knowledge.rerank import grams, spelled
from services.agent_worker.knowledge.terms import TOKENIZER, Folder, Stems, indexed
from shared.contracts.agents import Passage
from shared.words import normalized, pieces

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
        self._terms: Counter[str] = Counter()
        self._sampled = 0

    def run(self) -> None:
        languages = self._languages()
        usual = Counter(language for language in languages if language is not None).most_common(_MAX_LANGUAGES)
        kept = [language for language, _ in usual] or [PLAIN]
        self._stems = {language: Stems(language) for language in kept}
        for number, (passage, language) in enumerate(zip(self._passages, languages, strict=True), 1):
            self._add(number, passage, self._stems.get(kept[0] if language is None else language, self._stems[kept[0]]))
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
            head = normalized(passage.text[:400])
            found.append(stemmer_of(head, pieces(head)))
        return found

    def _add(self, number: int, passage: Passage, stems: Stems) -> None:
        title, text = normalized(titled(passage)), normalized(passage.text)
        title_pieces, text_pieces = pieces(title), pieces(text)
        title_terms, text_terms = indexed(title, title_pieces, stems), indexed(text, text_pieces, stems)
        self._connection.execute("INSERT INTO passages VALUES (?, ?)", (number, passage.model_dump_json()))
        self._connection.execute(
            "INSERT INTO words (rowid, title, text) VALUES (?, ?, ?)", (number, title_terms, text_terms)
        )
        if number % self._step == 0 and self._sampled < SAMPLE:
            self._sampled += 1
            self._grams.update(grams(spelled(title_pieces + text_pieces, self._folder)))
            self._terms.update({*title_terms.split(), *text_terms.split()})

    def _add_vocabulary(self) -> None:
        words = {
            term
            for stems in self._stems.values()
            for term in stems.values()
            if len(term) >= MIN_SPELLING and term.isalpha()
        }
        self._connection.executemany("INSERT INTO vocabulary VALUES (?)", [(word,) for word in sorted(words)])

    def _add_sample(self) -> None:
        for table, counts in (("sample_grams", self._grams), ("sample_terms", self._terms)):
            often = [(term, count) for term, count in counts.items() if count > 1]
            self._connection.executemany(f"INSERT INTO {table} VALUES (?, ?)", sorted(often))  # noqa: S608
