"""Filters: plain values are compared as values, and only the functions of this file bring an operator into a query."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

Document = dict[str, Any]
Where = Mapping[str, Any]
# The embedded database compares each document with each id: 500 ids take 250 ms, and 100 take 15 ms.
IDS_PER_READ: Final = 100


class Comparison(NamedTuple):
    """The operators that one field of a document must satisfy."""

    terms: dict[str, Any]


def above(value: Any, but: Sequence[str] = ()) -> Comparison:
    """`but` for these values."""
    return Comparison({"$gt": value, "$nin": list(but)} if but else {"$gt": value})


def below(value: Any) -> Comparison:
    return Comparison({"$lt": value})


def up_to(value: Any) -> Comparison:
    return Comparison({"$lte": value})


def between(low: Any, high: Any) -> Comparison:
    """From `low` (included) to `high` (excluded)."""
    return Comparison({"$gte": low, "$lt": high})


def within(**terms: Any) -> Comparison:
    """Any of the bounds `gt`, `gte` and `lt`; those that are None do not count."""
    return Comparison({f"${name}": value for name, value in terms.items() if value is not None})


def one_of(values: Sequence[str] | Sequence[int]) -> Comparison:
    return Comparison({"$in": list(values)})


def in_batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """For `one_of`, where there may be many."""
    return (ids[start : start + IDS_PER_READ] for start in range(0, len(ids), IDS_PER_READ))


def none_of(values: Sequence[str]) -> Comparison:
    """The field, or each member of a list, is none of these values. True for a document without the field."""
    return Comparison({"$nin": list(values)})


def all_of(values: Sequence[str]) -> Comparison:
    """The field is a list that contains each of these values."""
    return Comparison({"$all": list(values)})


def present() -> Comparison:
    return Comparison({"$exists": True})


def checked(where: Where) -> Where:
    """Raises TypeError for a plain value that MongoDB could read as something else than a value."""
    for name, value in where.items():
        if not (value is None or isinstance(value, (Comparison, str, int, float, bool, datetime))):
            raise TypeError(f"{name}: a filter compares scalars, not {type(value).__name__}")
    return where
