"""Fills an index's database from a version's passages."""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final

import orjson

from services.agent_worker.knowledge.languages import PLAIN, stemmer_of
from services.agent_worker.knowledge.rerank import grams, spelled
from services.agent_worker.knowledge.terms import TOKENIZER, Folder, Stems, indexed, words_and_pairs
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
_LANGUAGE_SAMPLE: Final = 1_024
# Characters and words of a passage that tell its language.
_HEAD: Final = 400
_HEAD_WORDS: Final = 80
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
        self._commonest = Stems(PLAIN)
        self._folder = Folder()
        self._step = max(1, len(passages) // SAMPLE)
        self._grams: Counter[str] = Counter()
        self._sample_terms: Counter[str] = Counter()
        self._sampled = 0

    def run(self) -> None:
        kept = self._usual_languages()
        self._stems = {language: Stems(language) for language in kept}
        self._commonest = self._stems[kept[0]]
        with suppress(sqlite3.OperationalError):
            self._connection.execute("INSERT INTO words (words, rank) VALUES ('hashsize', ?)", (_HASH_BYTES,))
        self._connection.executemany("INSERT INTO passages VALUES (?, ?)", self._stored())
        self._connection.executemany(
            "INSERT INTO words (rowid, title, text) VALUES (?, ?, ?)",
            (self._terms_of(number, passage) for number, passage in enumerate(self._passages, 1)),
        )
        self._connection.execute("INSERT INTO words (words) VALUES ('optimize')")
        self._add_vocabulary()
        self._add_sample()
        facts = {"languages": kept, "passages": len(self._passages), "sampled": self._sampled}
        self._connection.executemany(
            "INSERT INTO facts VALUES (?, ?)", [(n, orjson.dumps(v)) for n, v in facts.items()]
        )

    def _usual_languages(self) -> list[str]:
        """The commonest first. Of many passages a sample tells, in which a few that look like another do not count."""
        step = max(1, len(self._passages) // _LANGUAGE_SAMPLE)
        counts: Counter[str] = Counter()
        for passage in self._passages[::step]:
            head = normalized(passage.text[:_HEAD])
            if (language := stemmer_of(head, words_and_pairs(head)[0])) is not None:
                counts[language] += 1
        least = counts.total() / 100 if step > 1 else 0
        return [language for language, count in counts.most_common(_MAX_LANGUAGES) if count >= least] or [PLAIN]

    def _stems_of(self, text: str, words: list[str]) -> Stems:
        """A text that does not tell its language is read as the index's commonest."""
        if len(self._stems) == 1:
            return self._commonest
        language = stemmer_of(text[:_HEAD], words[:_HEAD_WORDS])
        return self._commonest if language is None else self._stems.get(language, self._commonest)

    def _stored(self) -> Iterator[tuple[int, str]]:
        return ((number, passage.model_dump_json()) for number, passage in enumerate(self._passages, 1))

    def _terms_of(self, number: int, passage: Passage) -> tuple[int, str, str]:
        title, text = normalized(titled(passage)), normalized(passage.text)
        words, pairs = words_and_pairs(text)
        stems = self._stems_of(text, words)
        title_terms, text_terms = indexed(*words_and_pairs(title), stems), indexed(words, pairs, stems)
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
