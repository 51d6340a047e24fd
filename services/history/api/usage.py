"""Usage over HTTP: sums of the ledger, a page of groups at a time."""

from datetime import UTC, date, datetime, timedelta
from typing import Final

from aiohttp import web

from services.history.api.nouns import nouns
from services.history.api.paging import cursor_of, cursor_values, limit_of, page_of
from services.history.api.paths import WORKSPACE, workspace_of
from shared.contracts.errors import ApiError, Code
from shared.contracts.usage import GROUPINGS, MAX_DAYS, Grouping, UsageQuery
from shared.web.bodies import json_response

DEFAULT_DAYS: Final = 30


async def get_usage(request: web.Request) -> web.Response:
    limit, after = limit_of(request), cursor_values(request, str)
    page = await nouns(request).usage.grouped(workspace_of(request), _query(request))
    rows, pending = page.rows, page.pending
    if after is not None:
        rows = tuple(row for row in rows if (row.group or "") > after[0])
    cursor = cursor_of([rows[limit - 1].group or ""]) if len(rows) > limit else None
    items = [row.model_dump(mode="json", by_alias=True) for row in rows[:limit]]
    return json_response({**page_of(items, cursor), "pending": pending.wire() if pending is not None else None})


def _query(request: web.Request) -> UsageQuery:
    last = _day(request, "to") or datetime.now(UTC).date()
    first = _day(request, "from") or last - timedelta(days=DEFAULT_DAYS - 1)
    if not timedelta() <= last - first < timedelta(days=MAX_DAYS):
        detail = f"from must not be later than to, and the two at most {MAX_DAYS} days apart."
        raise ApiError(Code.INVALID_REQUEST, detail, param="from")
    given = request.query.get
    return UsageQuery(
        group_by=_grouping(given("groupBy", "day")),
        first=first,
        last=last,
        agent_id=given("agentId"),
        key_id=given("keyId"),
        end_user=given("endUser"),
    )


def _grouping(text: str) -> Grouping:
    for grouping in GROUPINGS:
        if text == grouping:
            return grouping
    raise ApiError(Code.INVALID_REQUEST, f"groupBy must be one of {', '.join(GROUPINGS)}.", param="groupBy")


def _day(request: web.Request, name: str) -> date | None:
    if (text := request.query.get(name)) is None:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    if day is None or day.isoformat() != text or day.year < 2000:
        raise ApiError(Code.INVALID_REQUEST, f"{name} must be a day such as 2026-11-27.", param=name)
    return day


ROUTES: Final = (web.get(WORKSPACE + "/usage", get_usage),)
