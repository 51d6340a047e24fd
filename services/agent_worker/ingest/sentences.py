"""Words and sentences of any script, after the sentence rules of Unicode (UAX #29) as far as a cut needs them. Pure."""

import re
from typing import Final

# Terminators of the scripts that we know, then closing quotes and brackets. Full-width ones need no space behind them.
_END: Final = re.compile(r"(?:[.!?…‽।॥؟۔։።፧⸮]+[\"'”’»)\]]*(?=\s)|[。！？｡]+[」』”’）\]]*|\n{2,})\s*")
# No sentence ends after an initial or a number with its dot, nor before a lower-case letter.
_NO_END: Final = re.compile(r"(?:^|[\s(])(?:[A-Za-zÀ-ÿ]|\d{1,2}|e\.g|i\.e|Dr|Mr|Ms|Mrs|No|Nr|St|vs|z\.B|etc)\.$")
_UNSPACED: Final = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
)
_CHARACTERS_A_WORD: Final = 2
# Longer "words" are data, not language.
MAX_WORD: Final = 30
_LETTERS: Final = 6


def word_count(text: str) -> int:
    """Scripts without spaces count two characters as a word; a run without spaces counts by its length."""
    unspaced = 0 if text.isascii() else len(_UNSPACED.findall(text))
    words = sum(1 if len(word) <= MAX_WORD else len(word) // _LETTERS for word in text.split())
    return words + unspaced // _CHARACTERS_A_WORD


def sentences(text: str) -> list[str]:
    found: list[str] = []
    start = 0
    for match in _END.finditer(text):
        sentence = text[start : match.end()].strip()
        following = text[match.end() : match.end() + 1]
        if following.islower() or _NO_END.search(sentence[-12:]):
            continue
        if sentence:
            found.append(sentence)
        start = match.end()
    rest = text[start:].strip()
    return [*found, rest] if rest else found


def pieces(text: str, words: int) -> list[str]:
    """A text that is longer than `words` in pieces of at most that many, cut at spaces where there are any."""
    if word_count(text) <= words:
        return [text]
    longest = words * _LETTERS
    found, current, size = [], list[str](), 0
    for word in text.split():
        for part in (word[at : at + longest] for at in range(0, len(word), longest)):
            count = word_count(part)
            if current and size + count > words:
                found.append(" ".join(current))
                current, size = [], 0
            current.append(part)
            size += count
    return [*found, " ".join(current)] if current else found
