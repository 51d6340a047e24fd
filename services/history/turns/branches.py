"""Pure: the branches of a session. A turn may take another's place, or follow an earlier one than the last.

A session's turns are numbered in the order of their admission. A turn's `hidden` are the numbers below its own that
are not on its branch, as ranges with both ends included, in ascending order. A session without branches has none, so
nothing is read or written for it. A session's active branch is the last turn's.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from services.history.mongo.filters import Document
from shared.contracts.errors import ApiError, Code

Ranges = tuple[tuple[int, int], ...]

# Each costs some 20 bytes in every later turn of the session.
MAX_RANGES: Final = 500


class Branch(NamedTuple):
    """What a new turn continues. `hidden` is that of the turn `number`; None: of the session's last turn.

    `parent` is the id of the turn `number`, if the order for the new turn has named one.
    """

    hidden: Ranges = ()
    number: int | None = None
    parent: str | None = None

    def members(self, n: int) -> Document:
        """Of the new turn's document, if it gets the number `n`. Raises as `hidden_after`."""
        hidden = self.hidden if self.number is None else hidden_after(self.hidden, self.number, n - 1)
        members: Document = {"hidden": [list(each) for each in hidden]} if hidden else {}
        return members if self.parent is None else {**members, "parent": self.parent}


def hidden_after(hidden: Ranges, number: int, last: int) -> Ranges:
    """What is hidden from a turn that follows the turn `number`, whose branch hides `hidden`.

    A turn that takes the place of the turn `x` follows `x - 1`, with what `x` hides. `last` is the highest number
    before the new turn's. Raises `invalid_request` for a session with too many branches.
    """
    if number >= last:
        return hidden
    if hidden and hidden[-1][1] == number:
        # The turn before the one whose place is taken is hidden itself.
        return _bounded((*hidden[:-1], (hidden[-1][0], last)))
    return _bounded((*hidden, (number + 1, last)))


def also_hidden(hidden: Ranges, number: int) -> Ranges:
    """What is hidden once the turn `number` is too, because it was erased. As it was if there are too many ranges."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted((*hidden, (number, number))):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged) if len(merged) <= MAX_RANGES else hidden


def _bounded(hidden: Ranges) -> Ranges:
    if len(hidden) > MAX_RANGES:
        raise ApiError(Code.INVALID_REQUEST, f"A session can have at most {MAX_RANGES} branches. Start a new session.")
    return hidden


def is_hidden(hidden: Ranges, number: int) -> bool:
    return any(low <= number <= high for low, high in hidden)


def shown_below(hidden: Ranges, number: int) -> Iterator[int]:
    """The numbers below `number` that are not hidden, downwards to 1."""
    ranges = list(hidden)
    number -= 1
    while number >= 1:
        while ranges and ranges[-1][0] > number:
            ranges.pop()
        if ranges and ranges[-1][1] >= number:
            number = ranges[-1][0] - 1
            continue
        yield number
        number -= 1


def ranges_of(stored: Sequence[Sequence[int]] | None) -> Ranges:
    return tuple((low, high) for low, high in stored or ())
