"""The events of a session: live, or as the receipts of its stored turns."""

from typing import Final

from aiohttp import web

from services.gateway.api.event_schemas import SESSION_STREAM
from services.gateway.api.receipts import RECEIPT, receipt
from services.gateway.api.sessions import session_id
from services.gateway.api.turns import INCLUDE, includes_reasoning
from services.gateway.call import Call, Route
from services.gateway.edge.params import LIMIT, STREAM
from services.gateway.edge.replies import page_response
from services.gateway.edge.route import Param, Reply
from services.gateway.edge.validation import page_limit, refused
from services.gateway.streaming.session_events_renderer import SessionEventsRenderer
from services.gateway.streaming.session_follower import SessionFollower, is_whole
from services.gateway.streaming.sse_response import stream_headers
from services.gateway.streaming.stream_session import StreamSession
from shared.contracts.errors import ApiError, Code
from shared.contracts.frames import FrameId
from shared.contracts.keys import Scope
from shared.contracts.session_events import POSITION_PATTERN, SessionPosition
from shared.contracts.sessions import Session
from shared.contracts.turns import StoredTurn
from shared.web.middleware import REQUEST_ID

MAX_RECEIPTS: Final = 50
_POSITION: Final = {"type": "string", "pattern": POSITION_PATTERN}
_FLAG: Final = {"enum": ["true", "false"], "default": "false"}


async def events(call: Call) -> web.StreamResponse:
    wanted = session_id(call)
    if _flag(call.request, "stored"):
        return await _receipts(call, wanted)
    with_frames, reasoning = _flag(call.request, "frames"), includes_reasoning(call.request)
    position = _position(call.request)
    session = await call.dependencies.history.session(call.workspace, wanted)
    after = await _found(call, session, position) if position is not None else None
    if after is not None and _is_over(session, *after):
        return web.Response(status=204)
    if call.request.method == "HEAD":
        return stream_headers()
    stream = StreamSession(SessionEventsRenderer(call.request[REQUEST_ID], hides_reasoning=not reasoning))
    with call.hold():
        async with (
            call.dependencies.hub.listen_to_session(call.workspace, wanted) as listener,
            SessionFollower(
                call.dependencies, call.workspace, wanted, listener, after=after, with_frames=with_frames
            ) as follower,
        ):
            return await stream.drive(call.request, follower.batches, listener)


def _flag(request: web.Request, name: str) -> bool:
    value = request.query.get(name, "false")
    if value not in ("true", "false"):
        raise refused(name, "must be true or false")
    return value == "true"


def _position(request: web.Request) -> SessionPosition | None:
    """`Last-Event-ID`, else `?lastEventId=`: a browser's EventSource cannot set the header on its first request."""
    for name, text in (
        ("Last-Event-ID", request.headers.get("Last-Event-ID")),
        ("lastEventId", request.query.get("lastEventId")),
    ):
        if text:
            try:
                return SessionPosition.parse(text)
            except ValueError:
                raise refused(name, "is not the id of an event of a session") from None
    return None


async def _found(call: Call, session: Session, position: SessionPosition) -> tuple[StoredTurn, FrameId]:
    """The turn of the position. A turn of another session gets the same answer as one that does not exist."""
    try:
        stored = await call.dependencies.history.turn(call.workspace, position.turn_id, text=False)
    except ApiError as error:
        if error.code is not Code.TURN_NOT_FOUND:
            raise
        stored = None
    if stored is None or stored.turn.session_id != session.id:
        raise refused("Last-Event-ID", "is not the id of an event of this session")
    return stored, position.frame


def _is_over(session: Session, stored: StoredTurn, frame: FrameId) -> bool:
    """Whether the reader has everything that this session will ever tell."""
    return session.status == "ended" and stored.number >= session.turn_count and is_whole(stored, frame)


async def _receipts(call: Call, wanted: str) -> web.StreamResponse:
    limit, start = min(MAX_RECEIPTS, page_limit(call.request.query)), _start(call.request)
    page = await call.dependencies.history.session_turns(call.workspace, wanted, start, limit)
    cursor = str(page.next) if page.next is not None else None
    return page_response({"items": [receipt(stored) for stored in page.turns], "nextCursor": cursor})


def _start(request: web.Request) -> int:
    """The number of the turn that the page begins with. It is the cursor of this list."""
    text = request.query.get("cursor", "1")
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and int(text) > 0):
        raise refused("cursor", "is not a cursor of this list")
    return int(text)


ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="GET",
        path="/chat/sessions/{sessionId}/events",
        serve=events,
        scope=Scope.CHAT_READ,
        visitor=True,
        summary="Follow a session: its turns as they start and end; or, with `stored`, the receipts of its turns",
        params=(
            Param("frames", _FLAG, "also the frames of the turn that runs"),
            Param("stored", _FLAG, "no stream: a page of the stored turns, oldest first"),
            INCLUDE,
            Param(
                "Last-Event-ID", _POSITION, "the last event that was received; the stream goes on after it", "header"
            ),
            Param("lastEventId", _POSITION, "as `Last-Event-ID`, for browsers"),
            LIMIT,
            Param(
                "cursor", {"type": "string", "pattern": "^[1-9][0-9]{0,8}$"}, "with `stored`: `nextCursor` of before"
            ),
        ),
        replies={
            200: (
                Reply("the session's events", SESSION_STREAM, envelope=False, media_type=STREAM),
                Reply("with `stored`: a page of receipts", RECEIPT, paged=True),
            ),
            204: (Reply("the session has ended, and the client has all of its events"),),
        },
        errors=(Code.SESSION_NOT_FOUND,),
    ),
)
