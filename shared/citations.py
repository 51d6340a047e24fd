"""Pure: citations. Passages get numbers, the model names them as `[1]`, and the answer's markers are mapped back.

A marker is a bracket with numbers of at most three digits, such as `[1]` or `[1, 2]`. Brackets in Markdown code
(`row[1]`) and in front of a link's address (`[1](https://…)`) are no markers.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple, Protocol

from shared.contracts.sessions import Citation, PassageName, Retrieval, RetrievedPassage

_MAX_INNER: Final = 24
_MAX_DIGITS: Final = 3
_TOKEN: Final = re.compile(rf"`+|\n|\[([\d, ]{{1,{_MAX_INNER}}})\](?!\()")
# What the next characters may turn into another token.
_UNFINISHED: Final = re.compile(rf"(?:`+|\[[\d, ]{{0,{_MAX_INNER}}}\]?)\Z")
# A single or double backtick opens code of one line, three or more open a block.
_BLOCK: Final = 3


class KnownPassages(Protocol):
    """Passages by the numbers that a model was shown them under."""

    def __contains__(self, number: Any, /) -> bool: ...

    def __getitem__(self, number: int, /) -> PassageName: ...


class NumberedPassages:
    """The passages that an attempt has shown to its model, numbered from 1. A passage keeps its number."""

    def __init__(self) -> None:
        self._names: list[PassageName] = []
        self._numbers: dict[tuple[str, str], int] = {}

    def __contains__(self, number: Any, /) -> bool:
        return bool(1 <= number <= len(self._names))

    def __getitem__(self, number: int, /) -> PassageName:
        return self._names[number - 1]

    def numbered(self, retrieval: Retrieval) -> Retrieval:
        passages = tuple(passage.model_copy(update={"marker": self._number(passage)}) for passage in retrieval.passages)
        return retrieval.model_copy(update={"passages": passages})

    def _number(self, passage: RetrievedPassage) -> int:
        key = (passage.source_id, passage.id or passage.text)
        if key not in self._numbers:
            self._names.append(PassageName.model_validate(passage.model_dump(include=set(PassageName.model_fields))))
            self._numbers[key] = len(self._names)
        return self._numbers[key]


class _Marker(NamedTuple):
    start: int
    end: int
    numbers: tuple[int, ...]


class _Scanner:
    """Finds the markers of a text that may come in pieces: it remembers whether a piece ends inside code."""

    def __init__(self) -> None:
        self.code = ""  # The backticks that opened the code; empty outside of code.

    def markers(self, text: str, end: int) -> Iterator[_Marker]:
        for token in _TOKEN.finditer(text, 0, end):
            if token[1] is None:
                self._mark_code(token[0])
            elif not self.code and (numbers := _numbers(token[1])):
                yield _Marker(token.start(), token.end(), numbers)

    def _mark_code(self, sign: str) -> None:
        if sign == "\n":
            self.code = self.code if len(self.code) >= _BLOCK else ""
        elif not self.code:
            self.code = sign
        elif sign == self.code:
            self.code = ""


class MarkerFilter:
    """Removes markers that name nothing from the text of one model call, piece by piece.

    Where the text is cut makes no difference. Held back is only what may become a marker, such as `[1`.
    """

    def __init__(self, is_known: Callable[[int], bool]) -> None:
        self._is_known = is_known
        self._scanner = _Scanner()
        self._held = ""
        self._last = ""  # The last piece of text that went out.
        self._drops_space = False
        self._is_plain = True
        self.removed = 0  # Numbers that named nothing.

    def add(self, piece: str) -> str:
        """The text that may be shown."""
        # The fast path, per token: nothing is held back and nothing begins.
        if self._is_plain and "[" not in piece and "`" not in piece:
            self._last = piece
            return piece
        return self._filtered(self._held + piece, is_over=False)

    def end(self) -> str:
        """The model call is over: what is held back has nothing to wait for."""
        return self._filtered(self._held, is_over=True)

    def _filtered(self, text: str, *, is_over: bool) -> str:
        certain = len(text) if is_over else self._certain(text)
        shown, at = list[str](), 0
        for start, end, numbers in self._scanner.markers(text, certain):
            known = [number for number in numbers if self._is_known(number)]
            if len(known) == len(numbers):
                continue
            self.removed += len(numbers) - len(known)
            self._put(shown, text[at:start])
            if known:
                self._put(shown, f"[{', '.join(map(str, known))}]")
            else:
                # Of the spaces before and after a removed marker one stays.
                self._drops_space = not self._last or self._last[-1].isspace()
            at = end
        self._put(shown, text[at:certain])
        self._held = text[certain:]
        self._is_plain = not (self._held or self._scanner.code or self._drops_space)
        return "".join(shown)

    def _certain(self, text: str) -> int:
        """How much of the text can be decided: an unknown marker at its end may still be a link's text."""
        tail = _UNFINISHED.search(text)
        if tail is None or (tail[0].endswith("]") and all(map(self._is_known, _numbers(tail[0][1:-1])))):
            return len(text)
        return tail.start()

    def _put(self, shown: list[str], text: str) -> None:
        if self._drops_space and text:
            text = text.removeprefix(" ")
            self._drops_space = False
        if text:
            self._last = text
            shown.append(text)


def without_unknown(text: str, passages: KnownPassages) -> str:
    """A whole answer without the markers that name nothing."""
    markers = MarkerFilter(passages.__contains__)
    return markers.add(text) + markers.end()


def citations_of(text: str, passages: KnownPassages) -> tuple[Citation, ...]:
    """The markers in a whole answer, each with its passage and its place in Unicode characters."""
    return tuple(
        Citation(marker=number, start=start, end=end, passage=passages[number])
        for start, end, numbers in _Scanner().markers(text, len(text))
        for number in numbers
        if number in passages
    )


def without_texts(retrieval: Retrieval) -> Retrieval:
    """A search by its passages' names alone."""
    passages = tuple(passage.model_copy(update={"text": ""}) for passage in retrieval.passages)
    return retrieval.model_copy(update={"passages": passages})


def good_enough(passages: Iterable[RetrievedPassage], min_score: float | None) -> tuple[RetrievedPassage, ...]:
    return tuple(passage for passage in passages if min_score is None or passage.score >= min_score)


def _numbers(inner: str) -> tuple[int, ...]:
    """The numbers in a bracket; empty when it holds anything else."""
    parts = [part.strip(" ") for part in inner.split(",")]
    if not all(part.isdecimal() and len(part) <= _MAX_DIGITS for part in parts):
        return ()
    return tuple(map(int, parts))
