"""What the embedded stand-in for MongoDB needs instead of the general form, and how its server is recognised.

Measured on the stand-in 0.7: its planner uses no compound index for `$eq` nor for a partial index over `$exists`; it
finds a document by `_id` alone faster than with a second member (0.5 against 1.3 ms); it reads the whole range of a
query before it applies a limit, and everybody else waits meanwhile (20,000 sessions: 175 ms). It scans its record of
retryable writes at each further one, so deploy/local starts it with an address that says `retryWrites=false`.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from pymongo import IndexModel

from services.history.mongo.dialect import Dialect, Fields, Find, PageQuery
from services.history.mongo.filters import Comparison, Document, Where, between, checked
from services.history.mongo.indexes import Index, index_model
from shared.ids import id_at, time_of

FIRST_RANGE_MS: Final = 60_000
RANGE_GROWTH: Final = 8
# Earlier than the first id of any deployment: 2025-01-01.
BEGINNING_MS: Final = 1_735_689_600_000
_END_OF_TIME_MS: Final = (1 << 48) - 1


def dialect_for(build_info: Mapping[str, Any]) -> Dialect:
    """By the answer to `buildInfo`."""
    return StandInDialect() if "secantusVersion" in build_info else Dialect()


class StandInDialect(Dialect):
    def query(self, where: Where) -> Document:
        return {name: value.terms if isinstance(value, Comparison) else value for name, value in checked(where).items()}

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
        """Reads bounded ranges of time, each eight times as wide as the one before, until the page is full."""
        found: list[Document] = []
        for low, high in _ranges(page):
            query = self.query({**page.where, page.by.name: between(low, high)})
            found += await find(query, page.fields, page.order, page.limit + 1)
            if len(found) > page.limit:
                break
        return found[: page.limit + 1]


def _ranges(page: PageQuery) -> Iterator[tuple[str, str]]:
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    return _ascending(page, now_ms) if page.direction == "asc" else _descending(page, now_ms)


def _descending(page: PageQuery, now_ms: int) -> Iterator[tuple[str, str]]:
    prefix, span_ms = page.by.prefix, FIRST_RANGE_MS
    high, low_ms = page.after or id_at(prefix, _END_OF_TIME_MS), time_of(page.after) if page.after else now_ms
    while low_ms > 0:
        low_ms = max(0, low_ms - span_ms)
        yield id_at(prefix, low_ms), high
        high, span_ms = id_at(prefix, low_ms), span_ms * RANGE_GROWTH


def _ascending(page: PageQuery, now_ms: int) -> Iterator[tuple[str, str]]:
    prefix, span_ms = page.by.prefix, FIRST_RANGE_MS
    # A range contains its lower end; this is the smallest text that comes after `after`.
    low, high_ms = page.after + "\x00" if page.after else id_at(prefix, 0), time_of(page.after or "") or BEGINNING_MS
    while high_ms < _END_OF_TIME_MS:
        # A clock that runs ahead may have made an id, so the last range has no end.
        high_ms = _END_OF_TIME_MS if high_ms > now_ms else high_ms + span_ms
        yield low, id_at(prefix, high_ms)
        low, span_ms = id_at(prefix, high_ms), span_ms * RANGE_GROWTH
