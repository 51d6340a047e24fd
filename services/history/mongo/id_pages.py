"""Pages of what is named by ids that sort by time: bounded ranges that grow until a page is full, because no server is asked for all."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

from services.history.mongo.client import Document, Documents, Fields, between

Direction = Literal["asc", "desc"]

FIRST_RANGE_MS: Final = 60_000
RANGE_GROWTH: Final = 8
# Before the first id of any deployment: 2025-01-01.
BEGINNING_MS: Final = 1_735_689_600_000
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_TIME_DIGITS: Final = 10
_END_OF_TIME_MS: Final = (1 << 48) - 1


async def page_by_id(
    documents: Documents,
    where: Mapping[str, Any],
    name: str,
    prefix: str,
    direction: Direction,
    after: str | None,
    limit: int,
    fields: Fields | None = None,
) -> tuple[list[Document], str | None]:
    """Up to `limit` documents whose member `name` lies after the id `after` in that direction, and the id to go on from.

    `name` must be the last member of an index that `where` fills from its start.
    """
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    span_ms, found = FIRST_RANGE_MS, list[Document]()
    if direction == "desc":
        high, low_ms = after or id_at(prefix, _END_OF_TIME_MS), time_of(after) if after else now_ms
        while low_ms > 0 and len(found) <= limit:
            low_ms = max(0, low_ms - span_ms)
            ids = between(id_at(prefix, low_ms), high)
            found += await documents.many({**where, name: ids}, fields=fields, order=[(name, -1)], limit=limit + 1)
            high, span_ms = id_at(prefix, low_ms), span_ms * RANGE_GROWTH
    else:
        # The smallest text that comes after `after`: ranges hold their lower end.
        low, high_ms = after + "\x00" if after else id_at(prefix, 0), time_of(after) if after else BEGINNING_MS
        while high_ms < _END_OF_TIME_MS and len(found) <= limit:
            # A clock that runs ahead may have made an id; so the last range has no end.
            high_ms = _END_OF_TIME_MS if high_ms > now_ms else high_ms + span_ms
            ids = between(low, id_at(prefix, high_ms))
            found += await documents.many({**where, name: ids}, fields=fields, order=[(name, 1)], limit=limit + 1)
            low, span_ms = id_at(prefix, high_ms), span_ms * RANGE_GROWTH
    page = found[:limit]
    return page, page[-1][name] if len(found) > limit else None


def time_of(some_id: str) -> int:
    """The milliseconds at which an id was made: its first ten digits to the base 32."""
    number = 0
    for digit in some_id.partition("_")[2][:_TIME_DIGITS]:
        number = number << 5 | _ALPHABET.index(digit)
    return number


def id_at(prefix: str, time_ms: int) -> str:
    """The smallest id of that millisecond."""
    return f"{prefix}_" + "".join(_ALPHABET[time_ms >> shift & 31] for shift in range(45, -1, -5)) + "0" * 16
