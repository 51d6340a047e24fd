"""What the embedded stand-in for MongoDB needs instead of the general form, and how its server is recognised.

Measured on the stand-in 0.7: its planner uses no compound index for `$eq` nor for a partial index over `$exists`; it
finds a document by `_id` alone faster than with a second member (0.5 against 1.3 ms); it reads the whole range of a
query before it applies a limit, and everybody else waits meanwhile (20,000 sessions: 175 ms). It updates a turn by
`_id` and three members in 4.1 ms, and in 2.4 if none of them makes it look for an index. It scans its record of
retryable writes at each further one, so deploy/local starts it with an address that says `retryWrites=false`.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from pymongo import IndexModel

from services.history.mongo.dialect import Dialect, Fields, Find, PageQuery
from services.history.mongo.filters import Comparison, Document, Where, between, checked
from services.history.mongo.indexes import INDEXES, Index, index_model
from shared.ids import id_at, is_id, time_of

FIRST_RANGE_MS: Final = 60_000
RANGE_GROWTH: Final = 8
# Documents that one read brings where some of them are dropped.
LEAST_READ: Final = 256
# Earlier than the first id of any deployment: 2025-01-01.
BEGINNING_MS: Final = 1_735_689_600_000
_END_OF_TIME_MS: Final = (1 << 48) - 1
# Below every id, and above the empty text: a partial index serves only what lies above that (10,000 turns: 500 ms
# instead of 1 ms).
_FIRST_TEXT: Final = " "
# Above every id, also those that an operator chose.
_LAST_TEXT: Final = "\uffff"


def dialect_for(build_info: Mapping[str, Any]) -> Dialect:
    """By the answer to `buildInfo`."""
    return StandInDialect() if is_embedded(build_info) else Dialect()


def is_embedded(build_info: Mapping[str, Any]) -> bool:
    return "secantusVersion" in build_info


class StandInDialect(Dialect):
    def query(self, where: Where) -> Document:
        """With an `_id`, the other members are written so that the planner looks for no other index."""
        by_id = isinstance(where.get("_id"), str)
        return {name: _term(value, negated=by_id and _is_free(name)) for name, value in checked(where).items()}

    def index(self, index: Index) -> IndexModel:
        if index.partial is None:
            return index_model(index)
        partial = {name: {"$gt": ""} if value == {"$exists": True} else value for name, value in index.partial.items()}
        return index_model(index._replace(partial=partial))

    async def one(self, find: Find, where: Where, fields: Fields | None) -> Document | None:
        """With an `_id`, the other members are compared here."""
        others = {name: value for name, value in checked(where).items() if name != "_id"}
        if "_id" not in where or any(isinstance(value, Comparison) for value in where.values()):
            return await super().one(find, where, fields)
        if fields is not None and 1 in fields.values():
            fields = {**fields, **dict.fromkeys(others, 1)}
        rows = await find({"_id": where["_id"]}, fields, None, 1)
        return next((row for row in rows if all(row.get(name) == value for name, value in others.items())), None)

    async def page(self, find: Find, page: PageQuery) -> list[Document]:
        """Reads bounded ranges of time, each eight times as wide as the one before, until the page is full.

        The server is asked by the members of one index alone, and the rest is compared here: with one member more it
        may use no index at all (20,000 sessions: 10 s instead of 10 ms; 3,000 agents: 110 instead of 4 ms).
        """
        asked, compared = _split(page)
        fields = page.fields
        if fields is not None and 1 in fields.values():
            fields = {**fields, **dict.fromkeys(compared, 1)}
        size = max(page.limit + 1, LEAST_READ) if compared else page.limit + 1
        found: list[Document] = []
        for low, high in _bounded(page):
            rest: tuple[str, str] | None = (low, high)
            while rest is not None and len(found) <= page.limit:
                query = self.query({**asked, page.by.name: between(*rest)})
                rows = await find(query, fields, page.order, size)
                found += [row for row in rows if all(_matches(row, name, value) for name, value in compared.items())]
                rest = _beyond(page, rest, rows[-1][page.by.name]) if len(rows) == size else None
            if len(found) > page.limit:
                break
        return found[: page.limit + 1]


def _is_free(name: str) -> bool:
    """The server compares members of lists in their plain form only."""
    return name != "_id" and "." not in name


def _term(value: Any, *, negated: bool) -> Any:
    """`negated`: as the negation of its opposite, which means the same."""
    if not isinstance(value, Comparison):
        return {"$not": {"$ne": value}} if negated else value
    if negated and value.terms.keys() == {"$in"}:
        return {"$not": {"$nin": value.terms["$in"]}}
    return value.terms


def _split(page: PageQuery) -> tuple[Where, Where]:
    """What the server is asked, and what is compared here. Of the indexes that serve the page, the last is asked."""
    where = checked(page.where)
    usable = {name for name, value in where.items() if _is_value(value)}
    served = [
        index.keys[:-1]
        for index in INDEXES.get(page.collection, ())
        if index.keys[-1] == page.by.name and usable.issuperset(index.keys[:-1])
    ]
    names = served[-1] if served else usable
    asked = {name: _one_value(value) for name, value in where.items() if name in names or _is_range(value)}
    return asked, {name: value for name, value in where.items() if name not in asked or asked[name] != value}


def _is_value(value: Any) -> bool:
    """Whether an index can be entered with the value, or with one of those that it lists."""
    return value is not None and (not isinstance(value, Comparison) or "$all" in value.terms)


def _is_range(value: Any) -> bool:
    return isinstance(value, Comparison) and not value.terms.keys() <= {"$in", "$all", "$exists"}


def _one_value(value: Any) -> Any:
    """Of several values that a document must have, the longest: it is the rarest, as a rule."""
    return max(value.terms["$all"], key=len) if isinstance(value, Comparison) and "$all" in value.terms else value


def _matches(row: Document, name: str, value: Any) -> bool:
    stored = row.get(name)
    if not isinstance(value, Comparison):
        return bool(stored == value) or (isinstance(stored, list) and value in stored)
    if "$exists" in value.terms:
        return name in row
    if "$all" in value.terms:
        return set(value.terms["$all"]) <= set(stored if isinstance(stored, list) else [stored])
    return stored in value.terms["$in"]


def _beyond(page: PageQuery, within: tuple[str, str], last: str) -> tuple[str, str]:
    """What is left of a range after the id `last`."""
    low, high = within
    return (last + "\x00", high) if page.direction == "asc" else (low, last)


def _bounded(page: PageQuery) -> Iterator[tuple[str, str]]:
    """The ranges, as far as they lie within the page's bounds."""
    for low, high in _ranges(page):
        low, high = max(low, page.low or low), min(high, page.high or high)
        if low < high:
            yield low, high


def _time_or(page: PageQuery, otherwise: int) -> int:
    """When the id was made after which the page starts. An operator's names of agents say nothing about it.

    A member may have something behind its id.
    """
    some_id = (page.after or "")[: len(page.by.prefix) + 27]
    return time_of(some_id) if is_id(page.by.prefix, some_id) else otherwise


def _ranges(page: PageQuery) -> Iterator[tuple[str, str]]:
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    return _ascending(page, now_ms) if page.direction == "asc" else _descending(page, now_ms)


def _descending(page: PageQuery, now_ms: int) -> Iterator[tuple[str, str]]:
    prefix, span_ms = page.by.prefix, FIRST_RANGE_MS
    high, low_ms = page.after or _LAST_TEXT, _time_or(page, now_ms)
    while low_ms > 0:
        low_ms = max(0, low_ms - span_ms)
        yield id_at(prefix, low_ms) if low_ms else _FIRST_TEXT, high
        high, span_ms = id_at(prefix, low_ms), span_ms * RANGE_GROWTH


def _ascending(page: PageQuery, now_ms: int) -> Iterator[tuple[str, str]]:
    prefix, span_ms = page.by.prefix, FIRST_RANGE_MS
    # A range contains its lower end; this is the smallest text that comes after `after`.
    low, high_ms = page.after + "\x00" if page.after else _FIRST_TEXT, _time_or(page, BEGINNING_MS)
    while high_ms < _END_OF_TIME_MS:
        # A clock that runs ahead may have made an id, so the last range has no end.
        high_ms = _END_OF_TIME_MS if high_ms > now_ms else high_ms + span_ms
        yield low, id_at(prefix, high_ms) if high_ms < _END_OF_TIME_MS else _LAST_TEXT
        low, span_ms = id_at(prefix, high_ms), span_ms * RANGE_GROWTH
