"""Pure: the words of texts and of questions, as the FTS5 index knows them.

Scripts that write no spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese) are indexed as overlapping pairs of
characters, each pair one word. A question's pairs are then looked up like words; pairs as phrases of single characters
took 24 ms a question.
"""

import re
import unicodedata
from itertools import groupby
from typing import Final

from services.agent_worker.knowledge.retriever import MAX_QUERY

MAX_TERMS: Final = 64
# Combining marks are parts of words (vowel signs of Hindi, Thai, Arabic and others), for the tokenizer and for the
# expressions here.
TOKENIZER: Final = "porter unicode61 remove_diacritics 2 categories 'L* N* Co Mn Mc'"

# Points and signs that Hebrew and Arabic write in some texts and leave out in most.
_OPTIONAL_MARKS: Final = re.compile(
    "[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670]"
)
# Han, Hiragana, Katakana, Thai, Lao, Khmer, Burmese.
_UNSPACED: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)


def _marks() -> str:
    """The ranges of combining marks for a character class: `\\w` does not match them."""
    marks = [code for code in range(0x10000) if unicodedata.category(chr(code)) in ("Mn", "Mc")]
    runs = [[code for _, code in run] for _, run in groupby(enumerate(marks), lambda pair: pair[1] - pair[0])]
    return "".join(f"{chr(run[0])}-{chr(run[-1])}" for run in runs)


_UNSPACED_RUN: Final = re.compile(f"[{_UNSPACED}]+")
_PIECE: Final = re.compile(rf"[{_UNSPACED}]+|(?:(?![{_UNSPACED}])[\w{_marks()}])+")


def indexed(text: str) -> str:
    """Text for the tokenizer: each run of an unspaced script becomes its pairs and its last character."""
    return text if text.isascii() else _UNSPACED_RUN.sub(_paired, _OPTIONAL_MARKS.sub("", text))


def _paired(run: re.Match[str]) -> str:
    text = run[0]
    return f" {' '.join(_pairs(text))} {text[-1]} "


def _pairs(text: str) -> list[str]:
    return [text[at : at + 2] for at in range(len(text) - 1)]


def match_expression(query: str) -> str:
    """A person's text as an FTS5 expression: quoted terms joined by OR, so nothing in it is an operator.

    Empty: no terms.
    """
    terms: dict[str, None] = {}
    for piece in _PIECE.findall(_OPTIONAL_MARKS.sub("", query[:MAX_QUERY].replace("\0", " "))):
        if not _UNSPACED_RUN.match(piece):
            terms[f'"{piece.lower()}"'] = None
        elif len(piece) == 1:
            # The first character of any pair.
            terms[f'"{piece}"*'] = None
        else:
            terms.update(dict.fromkeys(f'"{pair}"' for pair in _pairs(piece)))
        if len(terms) >= MAX_TERMS:
            break
    return " OR ".join(list(terms)[:MAX_TERMS])
