"""Turns of sessions: post a message, get, follow and cancel its turn."""

import hashlib
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from aiohttp import web
from pydantic import Field, StringConstraints

from services.gateway.api.event_schemas import TURN_STREAM
from services.gateway.api.schemas import TURN_ACCEPTED, TURN_RESULT
from services.gateway.api.sessions import session_id
from services.gateway.call import Call, Route
from services.gateway.edge.params import IDEMPOTENCY, OWN_BODY, PREFER, STREAM
from services.gateway.edge.replies import data_response
from services.gateway.edge.route import Param, Reply
from services.gateway.edge.validation import (
    Metadata,
    canonical,
    idempotency_key,
    json_body,
    no_body,
    refused,
    wants_async,
)
from services.gateway.streaming.admission import Admission, admission, queue_position
from services.gateway.streaming.cursor import (
    LAST_EVENT_ID,
    LAST_EVENT_ID_QUERY,
    REPEAT_FROM,
    last_event_id,
    last_event_id_or_query,
)
from services.gateway.streaming.failed_turn import TURN_ENDS, failed_turn
from services.gateway.streaming.follow import outcome
from services.gateway.streaming.listener import Listener
from services.gateway.streaming.session_renderer import SessionRenderer, queued_frame
from services.gateway.streaming.sse_response import stream_headers
from services.gateway.streaming.stream_session import StreamSession
from shared.contracts.errors import ApiError, Code
from shared.contracts.frames import BEGINNING, FrameId, stream_frame
from shared.contracts.keys import Scope
from shared.contracts.schema import PublicRequest
from shared.contracts.sessions import TurnMessage
from shared.contracts.turns import ENDED, AdmitTurn, StoredTurn, Turn, terminal_frame
from shared.ids import new_id
from shared.web.middleware import REQUEST_ID

INCLUDE: Final = Param("include", {"type": "string", "enum": ["reasoning"]}, "also stream the model's reasoning")


class PostMessage(PublicRequest):
    content: Annotated[str, StringConstraints(min_length=1, max_length=100_000, pattern=r"\S")] = Field(
        description="not blank"
    )
    stream: bool = False
    metadata: Metadata = Field(default_factory=dict)

    def digest(self) -> str:
        """Covers what is asked, not how the answer is delivered: a repeat may ask for a stream."""
        return hashlib.sha256(canonical({"content": self.content, "metadata": self.metadata})).hexdigest()


def includes_reasoning(request: web.Request) -> bool:
    """`?include=reasoning`. Raises `invalid_request` on another value."""
    included = [name for value in request.query.getall("include", []) for name in value.split(",") if name]
    if not set(included) <= {"reasoning"}:
        raise refused("include", "must be reasoning")
    return bool(included)


async def post_message(call: Call) -> web.StreamResponse:
    session = session_id(call)
    key, after = idempotency_key(call.request), last_event_id(call.request)
    body = await json_body(call.request, PostMessage)
    return await answered(call, _order(call, session, key, body), after, stream=body.stream)


async def answered(call: Call, order: AdmitTurn, after: FrameId | None, *, stream: bool) -> web.StreamResponse:
    """Accepts the turn of a session, and answers as the request wants it."""
    session = order.session_id or ""
    with call.hold():
        async with admission(call.dependencies, call.principal, order) as accepted:
            if stream:
                return await _stream(call, session, accepted, after)
            if wants_async(call.request):
                return _accepted(call, session, accepted)
            return data_response(await _result(call, accepted))


def _order(call: Call, session: str, key: str | None, body: PostMessage) -> AdmitTurn:
    message = TurnMessage(id=new_id("msg"), role="user", content=body.content, created_at=datetime.now(UTC))
    return AdmitTurn(
        turn_id=new_id("trn"),
        session_id=session,
        messages=(message,),
        metadata=body.metadata,
        idempotency_key=key,
        body_digest=body.digest(),
        reasoning=includes_reasoning(call.request),
    )


async def _stream(call: Call, session: str, accepted: Admission, after: FrameId | None) -> web.StreamResponse:
    """From the start, or after `after` when this request repeats the one that began the turn."""
    if after is not None and not accepted.answer.created:
        return await _continue(call, accepted, after)
    position = await accepted.enqueued
    if position is None:
        position = await queue_position(call.dependencies, accepted.turn.id)
    first = queued_frame(session, accepted.turn, accepted.answer.user_message_id, position)
    return await _send(call, accepted.turn, accepted.listener, first=first)


async def _continue(call: Call, accepted: Admission, after: FrameId) -> web.StreamResponse:
    """A client that has every frame gets the last one again. Clients that repeat a POST retry for ever after a 204."""
    turn = accepted.turn
    if accepted.ended:
        stored = await call.dependencies.history.turn(call.workspace, turn.id, text=False)
        end = FrameId(stored.turn.attempt, stored.last_seq)
        if after >= end:
            last = stream_frame(*terminal_frame(turn, accepted.answer.output), end)
            return await StreamSession(_renderer(call, turn)).replay(call.request, [last])
    return await _send(call, turn, accepted.listener, after)


async def _send(
    call: Call, turn: Turn, listener: Listener, after: FrameId = BEGINNING, *, first: bytes = b""
) -> web.StreamResponse:
    session = StreamSession(_renderer(call, turn, first))
    return await session.follow(call.request, call.dependencies, call.workspace, turn, listener, after)


def _renderer(call: Call, turn: Turn, first: bytes = b"") -> SessionRenderer:
    hides_reasoning = bool(turn.reasoning) and not includes_reasoning(call.request)
    return SessionRenderer(turn.id, call.request[REQUEST_ID], first, hides_reasoning=hides_reasoning)


def _accepted(call: Call, session: str, accepted: Admission) -> web.Response:
    turn = accepted.turn
    location = call.request.path.partition(session)[0] + f"{session}/turns/{turn.id}"
    headers = {"Location": location, "Preference-Applied": "respond-async"}
    return data_response({"turnId": turn.id, "status": turn.status, "sessionId": session}, status=202, headers=headers)


async def _result(call: Call, accepted: Admission) -> dict[str, Any]:
    if accepted.ended:
        event, data = terminal_frame(accepted.turn, accepted.answer.output)
    else:
        event, data = await outcome(call.dependencies, call.workspace, accepted.turn.id, accepted.listener)
    if event == "error":
        raise failed_turn(data)
    return {name: data.get(name) for name in ("turnId", "status", "finishReason", "messages", "usage")}


async def stored_turn(call: Call, *, text: bool = False) -> StoredTurn:
    """The turn of the path. Raises `turn_not_found` also for one of another session."""
    session = call.path_id("sessionId", "ses", Code.TURN_NOT_FOUND)
    turn_id = call.path_id("turnId", "trn", Code.TURN_NOT_FOUND)
    stored = await call.dependencies.history.turn(call.workspace, turn_id, text=text)
    if stored.turn.session_id != session:
        raise ApiError(Code.TURN_NOT_FOUND)
    return stored


async def get(call: Call) -> web.StreamResponse:
    return data_response((await stored_turn(call)).turn.wire())


def _outline(stored: StoredTurn) -> tuple[Turn, FrameId, str]:
    """What a stream needs: the turn, the id of its last frame, the id of its user message."""
    user_message_id = next((message.id for message in reversed(stored.input) if message.role == "user"), "")
    return stored.turn, FrameId(stored.turn.attempt, stored.last_seq), user_message_id


async def follow_turn(call: Call) -> web.StreamResponse:
    after = last_event_id_or_query(call.request)
    # A log is read only after history has confirmed that the turn belongs to this workspace and this session.
    turn, last_id, user_message_id = _outline(await stored_turn(call))
    if after is not None and turn.status in ENDED and after >= last_id:
        return web.Response(status=204)
    if call.request.method == "HEAD":
        return stream_headers()
    with call.hold():
        async with call.dependencies.hub.listen(call.workspace, turn.id) as listener:
            if after is not None:
                return await _send(call, turn, listener, after)
            position = await queue_position(call.dependencies, turn.id)
            first = queued_frame(session_id(call), turn, user_message_id, position)
            return await _send(call, turn, listener, first=first)


async def cancel(call: Call) -> web.StreamResponse:
    await no_body(call.request)
    turn = (await stored_turn(call)).turn
    if turn.status not in ENDED:
        turn = await call.dependencies.history.cancel(call.workspace, turn.id)
    return data_response(turn.wire())


_GIVES: Final = {"/chat/sessions/{sessionId}/turns/{turnId}": "turnId"}
ANSWERS: Final = {
    200: (
        Reply("the finished turn", TURN_RESULT, gives=_GIVES),
        Reply("the turn's frames", TURN_STREAM, envelope=False, media_type=STREAM),
    ),
    202: (Reply("accepted; `Location` is the turn", TURN_ACCEPTED, gives=_GIVES),),
}
REFUSALS: Final = (
    Code.SESSION_NOT_FOUND,
    Code.SESSION_ENDED,
    Code.TURN_IN_PROGRESS,
    Code.IDEMPOTENCY_MISMATCH,
    Code.GONE,
    Code.BUDGET_EXCEEDED,
)

ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="POST",
        path="/chat/sessions/{sessionId}/messages",
        serve=post_message,
        scope=Scope.CHAT_WRITE,
        visitor=True,
        summary="Post a message; the answer as a stream of events when `stream`, else as one document",
        request=PostMessage,
        params=(IDEMPOTENCY, PREFER, REPEAT_FROM, INCLUDE),
        replies=ANSWERS,
        errors=(*OWN_BODY, *TURN_ENDS, *REFUSALS),
    ),
    Route(
        method="GET",
        path="/chat/sessions/{sessionId}/turns/{turnId}",
        serve=get,
        scope=Scope.CHAT_READ,
        visitor=True,
        summary="Get a turn",
        replies={200: (Reply("the turn", Turn),)},
        errors=(Code.TURN_NOT_FOUND, Code.SESSION_NOT_FOUND),
    ),
    Route(
        method="GET",
        path="/chat/sessions/{sessionId}/turns/{turnId}/events",
        serve=follow_turn,
        scope=Scope.CHAT_READ,
        visitor=True,
        summary="Follow or resume a turn's stream",
        params=(LAST_EVENT_ID, LAST_EVENT_ID_QUERY, INCLUDE),
        replies={
            200: (Reply("the turn's frames", TURN_STREAM, envelope=False, media_type=STREAM),),
            204: (Reply("the client has all of them"),),
        },
        errors=(Code.TURN_NOT_FOUND, Code.SESSION_NOT_FOUND),
    ),
    Route(
        method="POST",
        path="/chat/sessions/{sessionId}/turns/{turnId}/cancel",
        serve=cancel,
        scope=Scope.CHAT_WRITE,
        visitor=True,
        summary="Cancel a turn; what was answered so far is kept",
        body_optional=True,
        replies={200: (Reply("the turn as it stands; it may still be running", Turn),)},
        errors=(*OWN_BODY, Code.TURN_NOT_FOUND, Code.SESSION_NOT_FOUND),
    ),
)
