"""The export of sessions with everything that was said in them, as lines of JSON."""

from collections import Counter
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web

from services.gateway.api.line_export import NDJSON, line, send_lines
from services.gateway.api.receipts import RECEIPT, receipt
from services.gateway.api.session_filters import FILTERS, filters_of
from services.gateway.call import Call, Route
from services.gateway.edge.json_schema import COUNT, TEXT, Named, object_of
from services.gateway.edge.route import Param, Reply
from services.gateway.edge.validation import refused
from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import Scope
from shared.ids import is_id

SESSIONS_PER_READ: Final = 50
TURNS_PER_READ: Final = 20

LINE: Final = Named(
    "SessionExportLine",
    object_of(
        {"type": {"enum": ["session", "turn", "end"]}},
        {
            "session": {"$ref": "#/components/schemas/Session"},
            "sessionId": TEXT,
            **RECEIPT["properties"],
            "sessions": COUNT,
            "turns": COUNT,
        },
        "One line. A `session` line is followed by the `turn` lines of that session. The `end` line comes last and"
        " counts both: an export without it is incomplete.",
    ),
)


async def export(call: Call) -> web.StreamResponse:
    """Oldest first, so that a repeated export with `after` goes on where the one before has ended."""
    query = [("order", "asc"), ("limit", str(SESSIONS_PER_READ)), *filters_of(call.request)]
    after = call.request.query.get("after")
    if after is not None and not is_id("ses", after):
        raise refused("after", "is not the id of a session")
    return await send_lines(call, lines_of(call, query, after))


async def lines_of(call: Call, query: list[tuple[str, str]], after: str | None) -> AsyncIterator[bytes]:
    """The lines, some at a time. Raises ApiError, also when the gateway drains."""
    counts = Counter[str]()
    async for data in session_lines(call, query, after, counts):
        yield data
    yield line({"type": "end", "sessions": counts["sessions"], "turns": counts["turns"]})


async def session_lines(
    call: Call, query: list[tuple[str, str]], after: str | None, counts: Counter[str]
) -> AsyncIterator[bytes]:
    """The lines of the sessions and their turns, which it counts."""
    cursor = [("after", after)] if after is not None else []
    while True:
        page = await call.dependencies.history.sessions(call.workspace, [*query, *cursor])
        for session in page["items"]:
            yield line({"type": "session", "session": session})
            counts["sessions"] += 1
            async for count, data in _turn_lines(call, session["id"]):
                counts["turns"] += count
                yield data
        if page["nextCursor"] is None:
            return
        cursor = [("cursor", page["nextCursor"])]


async def _turn_lines(call: Call, session_id: str) -> AsyncIterator[tuple[int, bytes]]:
    """Pages of a session's turns. A session that is deleted meanwhile has no more."""
    start: int | None = 1
    while start is not None:
        if call.dependencies.draining.is_set():
            raise ApiError(Code.DRAINING)
        try:
            page = await call.dependencies.history.session_turns(call.workspace, session_id, start, TURNS_PER_READ)
        except ApiError as error:
            if error.code is Code.SESSION_NOT_FOUND:
                return
            raise
        lines = [line({"type": "turn", "sessionId": session_id, **receipt(stored)}) for stored in page.turns]
        yield len(lines), b"".join(lines)
        start = page.next


ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="GET",
        path="/chat/sessions/export",
        serve=export,
        scope=Scope.CHAT_READ,
        summary="Export sessions with their turns, oldest first, as one JSON document a line",
        params=(*FILTERS, Param("after", {"type": "string"}, "only sessions after this one: continues an export")),
        replies={200: (Reply("lines of JSON", LINE, envelope=False, media_type=NDJSON),)},
    ),
)
