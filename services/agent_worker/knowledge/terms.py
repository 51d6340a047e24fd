"""The words of texts and of questions, as the FTS5 index knows them: folded, stemmed, and pairs in unspaced scripts.

Scripts that write no spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese) are indexed as overlapping pairs of
clusters, each pair one word; a cluster is a character with its vowel signs and tone marks. Pairs as phrases of single
characters took 24 ms a question in Thai; pairs of characters instead of clusters halve the precision there (hit@1 0.884
against 0.941).
"""

import re
import unicodedata
from itertools import groupby, pairwise
from typing import Final

import Stemmer  # type: ignore[import-not-found, import-untyped, unused-ignore]  # a compiled module without types

from services.agent_worker.knowledge.languages import PLAIN

# Terms are separated by spaces and hold word characters only. This tokenizer takes them as they are.
TOKENIZER: Final = "ascii"
# A text with endlessly many different words shall not fill the memory.
_CACHED_WORDS: Final = 200_000
# Longer "words" are encoded data.
_MAX_WORD: Final = 64

# Points and signs that Hebrew and Arabic write in some texts and leave out in most.
_OPTIONAL_MARKS: Final = re.compile(
    "[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670]"
)
# Han, Hiragana, Katakana, Thai, Lao, Khmer, Burmese.
UNSPACED: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)


def _marks() -> str:
    """The ranges of combining marks for a character class: `\\w` does not match them."""
    marks = [code for code in range(0x10000) if unicodedata.category(chr(code)) in ("Mn", "Mc")]
    runs = [[code for _, code in run] for _, run in groupby(enumerate(marks), lambda pair: pair[1] - pair[0])]
    return "".join(f"{chr(run[0])}-{chr(run[-1])}" for run in runs)


_MARKS: Final = _marks()
_ASCII_WORD: Final = re.compile("[a-z0-9]+")
_WORD: Final = re.compile(rf"[\w{_MARKS}]+")
_RUN: Final = re.compile(f"[{UNSPACED}]+|[^{UNSPACED}]+")
_UNSPACED_START: Final = re.compile(f"[{UNSPACED}]")
# The vowels of Thai and Lao that are written before their consonant belong to it. \u0e30, \u0e32, \u0e33 and \u0e45
# are vowels behind one that are no marks for Unicode.
_CLUSTER: Final = re.compile(rf"[\u0e40-\u0e44\u0ec0-\u0ec4]?.[{_MARKS}\u0e30\u0e32\u0e33\u0e45\u0eb0\u0eb2\u0eb3]*")
# Combining accents of Latin, Greek and Cyrillic. Other scripts' marks distinguish words.
_ACCENTS: Final = re.compile("[\u0300-\u036f]")
_UNDECOMPOSED: Final = str.maketrans(
    {"ß": "ss", "ı": "i", "ł": "l", "đ": "d", "ø": "o", "æ": "ae", "œ": "oe", "ς": "σ"}
)


def normalized(text: str) -> str:
    """In lower case, one spelling for each character, and without the marks that most texts leave out."""
    if text.isascii():
        return text.lower()
    return _OPTIONAL_MARKS.sub("", unicodedata.normalize("NFKC", text).lower()).replace("_", " ")


def pieces(text: str) -> list[str]:
    """The words and the runs of unspaced scripts in a normalized text."""
    if text.isascii():
        return _ASCII_WORD.findall(text)
    words = _WORD.findall(text)
    # One class of characters is matched three times faster than an alternative of two.
    return [run for word in words for run in _RUN.findall(word)] if _UNSPACED_START.search(text) else words


def is_unspaced(piece: str) -> bool:
    return _UNSPACED_START.match(piece) is not None


def folded(word: str) -> str:
    """Without accents, as people type who have no key for them."""
    if word.isascii():
        return word
    return unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", word.translate(_UNDECOMPOSED))))


def clusters(piece: str) -> list[str]:
    return _CLUSTER.findall(piece)


def pairs(piece: str) -> list[str]:
    """The pairs of a run's clusters. A single cluster has none."""
    return [first + second for first, second in pairwise(clusters(piece))]


class Folder(dict[str, str]):
    """Folded words by word."""

    def __missing__(self, word: str) -> str:
        fold = self._fold(word[:_MAX_WORD])
        if len(self) < _CACHED_WORDS:
            self[word] = fold
        return fold

    def _fold(self, word: str) -> str:
        return folded(word)


class Stems(Folder):
    """Folded stems by word, in one language. One thread at a time: a Snowball stemmer has a state."""

    def __init__(self, language: str) -> None:
        super().__init__()
        # Its own cache would only repeat this one.
        self._stem = None if language == PLAIN else Stemmer.Stemmer(language, 0).stemWord

    def _fold(self, word: str) -> str:
        # An accent belongs to the stem's rules, so it is removed afterwards.
        return folded(word if self._stem is None else self._stem(word)) or word


def indexed(text: str, found: list[str], stems: Stems) -> str:
    """A normalized text's pieces as terms for the tokenizer: a run becomes its pairs and its last cluster."""
    if text.isascii() or not _UNSPACED_START.search(text):
        return " ".join([stems[word] for word in found])
    words: list[str] = []
    for piece in found:
        if is_unspaced(piece):
            run = clusters(piece)
            words += [first + second for first, second in pairwise(run)]
            words.append(run[-1])
        else:
            words.append(stems[piece])
    return " ".join(words)
