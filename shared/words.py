"""The words of a text, for any language: normalized, without accents, and pairs in scripts that write no spaces.

Chinese, Japanese, Thai, Lao, Khmer and Burmese become overlapping pairs of clusters, each pair one word; a cluster is a
character with its vowel signs and tone marks. Pairs as phrases of single characters took 24 ms a question in Thai;
pairs of characters instead of clusters halve the precision there (hit@1 0.884 against 0.941).
"""

import re
import unicodedata
from array import array
from collections.abc import Iterable, Iterator
from itertools import groupby, pairwise
from typing import Final

# Longer "words" are encoded data.
MAX_WORD: Final = 64

# Points and signs that Hebrew and Arabic write in some texts and leave out in most, and the dot of Devanagari, which
# many people do not type.
_OPTIONAL_MARKS: Final = re.compile(
    "[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670\u093c]"
)
# Han, Hiragana, Katakana, Thai, Lao, Khmer, Burmese.
UNSPACED: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)


def _ranges(codes: Iterable[int]) -> str:
    """Code points as ranges for a character class."""
    runs = [[code for _, code in run] for _, run in groupby(enumerate(codes), lambda pair: pair[1] - pair[0])]
    return "".join(f"\\u{run[0]:04x}-\\u{run[-1]:04x}" for run in runs)


def _is_mark(code: int) -> bool:
    """A combining mark belongs to a word: `\\w` does not match it."""
    return unicodedata.category(chr(code)) in ("Mn", "Mc")


def _is_separator(code: int) -> bool:
    return not (chr(code).isalnum() or chr(code).isspace() or _is_mark(code))


_ASCII: Final = str.maketrans({code: " " for code in range(0x80) if not chr(code).isalnum()})
# Punctuation of full width, and the comma that a text with it has.
_FULL_WIDTH: Final = re.compile("[\u3000\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65]+")
_FULL_COMMA: Final = "\uff0c"
# The vowel sign that nearly every text in Devanagari has, its letters that are made of a letter and a dot, and those
# that a letter and a dot are made into.
_DEVANAGARI: Final = "\u093e"
_SPLIT: Final = tuple(
    zip(
        "\u0958\u0959\u095a\u095b\u095c\u095d\u095e\u095f",
        "\u0915\u0916\u0917\u091c\u0921\u0922\u092b\u092f",
        strict=True,
    )
)
_COMPOSED: Final = tuple(zip("\u0929\u0931\u0934", "\u0928\u0930\u0933", strict=True))
_BASIC: Final = range(0x10000)
_MARKS: Final = _ranges(filter(_is_mark, _BASIC))
_ASTRAL: Final = re.compile("[\U00010000-\U0010ffff]")
_WORD: Final = re.compile(rf"(?:[^\W_]|[{_MARKS}])+")
# One class of the basic plane's characters is matched twice as fast as the complement of two classes.
_SEPARATORS: Final = re.compile(f"[{_ranges(filter(_is_separator, _BASIC))}]+")
_RUN: Final = re.compile(f"[{UNSPACED}]+|[^{UNSPACED}]+")
_UNSPACED_RUN: Final = re.compile(f"[{UNSPACED}]+")
_SPACED_RUN: Final = re.compile(f"[^{UNSPACED}]+")
_UNSPACED_START: Final = re.compile(f"[{UNSPACED}]")
# The high bytes of UTF-16 in which no unspaced script has a character. 0xd8 to 0xdf are halves of characters.
_UNSPACED_BYTES: Final = {code >> 8 for code in _BASIC if _UNSPACED_START.match(chr(code))} | set(range(0xD8, 0xE0))
_SPACED_BYTES: Final = bytes(sorted(set(range(256)) - _UNSPACED_BYTES))
# The vowels of Thai and Lao that are written before their consonant belong to it. \u0e30, \u0e32, \u0e33 and \u0e45
# are vowels behind one that are no marks for Unicode. Only the marks of unspaced scripts: a small class is fast.
_UNSPACED_MARKS: Final = _ranges(code for code in _BASIC if _is_mark(code) and _UNSPACED_START.match(chr(code)))
_CLUSTER: Final = re.compile(
    rf"[\u0e40-\u0e44\u0ec0-\u0ec4]?.[{_UNSPACED_MARKS}\u0e30\u0e32\u0e33\u0e45\u0eb0\u0eb2\u0eb3]*"
)
# Characters that are not a cluster of two bytes by themselves.
_NOT_ALONE: Final = re.compile(
    rf"[\u0e40-\u0e44\u0ec0-\u0ec4{_UNSPACED_MARKS}\u0e30\u0e32\u0e33\u0e45\u0eb0\u0eb2\u0eb3\U00010000-\U0010ffff]"
)
_SPACE: Final = array("H", " ".encode("utf-16-le"))
# Combining accents of Latin, Greek and Cyrillic. Other scripts' marks distinguish words.
_ACCENTS: Final = re.compile("[\u0300-\u036f]")
_UNDECOMPOSED: Final = str.maketrans(
    {"ß": "ss", "ı": "i", "ł": "l", "đ": "d", "ø": "o", "æ": "ae", "œ": "oe", "ς": "σ"}
)


def normalized(text: str) -> str:
    """In lower case, one spelling for each character, and without the marks that most texts leave out."""
    if text.isascii():
        return text.lower()
    # Python normalizes a text of 800 characters in 2 µs if nothing changes, else in 25. So what most Thai, Hindi and
    # Chinese texts would change for is replaced before, with the same result.
    text = text.replace("\u0e33", "\u0e4d\u0e32")
    if _DEVANAGARI in text:
        for letter, plain in (*_SPLIT, ("\u093c", "")):
            text = text.replace(letter, plain)
    if _FULL_COMMA in text:
        text = _FULL_WIDTH.sub(" ", text)
    text = unicodedata.normalize("NFKC", text)
    for letter, plain in _COMPOSED:
        text = text.replace(letter, plain)
    return _OPTIONAL_MARKS.sub("", text.lower())


def separated(text: str) -> str:
    """A normalized text with nothing but spaces between its words."""
    if text.isascii():
        return text.translate(_ASCII)
    # The class of separators has no characters beyond the basic plane.
    return " ".join(_WORD.findall(text)) if _ASTRAL.search(text) else _SEPARATORS.sub(" ", text)


def pieces(text: str) -> list[str]:
    """The words and the runs of unspaced scripts in a normalized text."""
    words = separated(text).split()
    return [run for word in words for run in _RUN.findall(word)] if has_unspaced(text) else words


def has_unspaced(text: str) -> bool:
    if text.isascii() or not text.encode("utf-16-le", "surrogatepass")[1::2].translate(None, _SPACED_BYTES):
        return False
    return _UNSPACED_START.search(text) is not None


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


def spaced_words(text: str) -> list[str]:
    """The words of a separated text outside its unspaced runs."""
    return _UNSPACED_RUN.sub(" ", text).split()


def overlapping(text: str) -> str:
    """All pairs of a separated text's unspaced runs, and the clusters at both ends of each run, between spaces."""
    # The space between two runs is a cluster too: its pairs are the single clusters at the runs' ends.
    runs = _SPACED_RUN.sub(" ", f" {text} ")
    if _NOT_ALONE.search(runs) is None:
        return _paired(runs)
    found = _CLUSTER.findall(runs)
    joined = [" "] * (3 * (len(found) - 1))
    # Two slices and one join take half the time of a string for each pair.
    joined[0::3], joined[1::3] = found[:-1], found[1:]
    return "".join(joined)


def _paired(runs: str) -> str:
    """The same of a text whose characters are its clusters, as most Chinese and Japanese are.

    No string is made for a character: it takes a third of the time.
    """
    units = array("H", runs.encode("utf-16-le"))
    joined = _SPACE * (3 * (len(units) - 1))
    joined[0::3], joined[1::3] = units[:-1], units[1:]
    return joined.tobytes().decode("utf-16-le")


def words_of(text: str) -> Iterator[str]:
    """Every word of a text, in its order; a word may come several times.

    Two words are equal if they differ in case and accents only.
    """
    for piece in pieces(normalized(text)):
        if not is_unspaced(piece):
            yield folded(piece[:MAX_WORD]) or piece[:MAX_WORD]
        else:
            yield from pairs(piece) or clusters(piece)
