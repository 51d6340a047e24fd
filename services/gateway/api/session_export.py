"""The export of sessions with everything that was said in them, as lines of JSON."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import orjson
from aiohttp import web

from services.gateway.api.receipts import RECEIPT, receipt
from services.gateway.api.session_filters import FILTERS, filters_of
from services.gateway.call import Call, Route
from services.gateway.edge.json_schema import COUNT, TEXT, object_of
from services.gateway.edge.route import Param, Reply
from services.gateway.edge.validation import refused
from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import Scope
from shared.ids import is_id
from shared.log import get_logger

log = get_logger()

NDJSON: Final = "application/x-ndjson"
SESSIONS_PER_READ: Final = 50
TURNS_PER_READ: Final = 20
WRITE_TIMEOUT_S: Final = 15.0
# A client that reads slowly holds back the reads of history: this much waits for it, beside one page of turns.
WRITE_BUFFER: Final = 64 << 10
HEADERS: Final = {"Content-Type": NDJSON, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}

LINE: Final = object_of(
    {"type": {"enum": ["session", "turn", "end"]}},
    {
        "session": {"$ref": "#/components/schemas/Session"},
        "sessionId": TEXT,
        **RECEIPT["properties"],
        "sessions": COUNT,
        "turns": COUNT,
    },
    "One line. A `session` line is followed by the `turn` lines of that session. The `end` line comes last and counts"
    " both: an export without it is incomplete.",
)


async def export(call: Call) -> web.StreamResponse:
    """Oldest first, so that a repeated export with `after` goes on where the one before has ended."""
    query = [("order", "asc"), ("limit", str(SESSIONS_PER_READ)), *filters_of(call.request)]
    after = call.request.query.get("after")
    if after is not None and not is_id("ses", after):
        raise refused("after", "is not the id of a session")
    with call.dependencies.limits.hold(call.principal.key_id):
        lines = _lines(call, query, after)
        # The first read is made before the headers are sent: its errors are answered with a problem document.
        first = await anext(lines)
        response = web.StreamResponse(headers=HEADERS)
        await response.prepare(call.request)
        if call.request.method != "HEAD":
            await _send(call, response, first, lines)
        return response


async def _send(call: Call, response: web.StreamResponse, first: bytes, lines: AsyncIterator[bytes]) -> None:
    """Sends all lines, or else breaks the connection: no client may take a part for the whole."""
    transport = call.request.transport
    if transport is not None:
        transport.set_write_buffer_limits(high=WRITE_BUFFER)
    try:
        await _write(response, first)
        async for data in lines:
            await _write(response, data)
        await response.write_eof()
    except (ApiError, ConnectionError, TimeoutError) as error:
        log.warning("export_broken_off", error=type(error).__name__)
        if transport is not None:
            transport.abort()


async def _write(response: web.StreamResponse, data: bytes) -> None:
    async with asyncio.timeout(WRITE_TIMEOUT_S):
        await response.write(data)


async def _lines(call: Call, query: list[tuple[str, str]], after: str | None) -> AsyncIterator[bytes]:
    """The lines, some at a time. Raises ApiError, also when the gateway drains."""
    sessions = turns = 0
    cursor = [("after", after)] if after is not None else []
    while True:
        page = await call.dependencies.history.sessions(call.workspace, [*query, *cursor])
        for session in page["items"]:
            yield _line({"type": "session", "session": session})
            sessions += 1
            async for count, data in _turn_lines(call, session["id"]):
                turns += count
                yield data
        if page["nextCursor"] is None:
            break
        cursor = [("cursor", page["nextCursor"])]
    yield _line({"type": "end", "sessions": sessions, "turns": turns})


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
        lines = [_line({"type": "turn", "sessionId": session_id, **receipt(stored)}) for stored in page.turns]
        yield len(lines), b"".join(lines)
        start = page.next


def _line(value: dict[str, Any]) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)


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
