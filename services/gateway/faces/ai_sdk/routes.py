"""The AI SDK's routes: a message and its answer, resume, stop, and the messages of a chat."""

from datetime import UTC, datetime, timedelta
from typing import Final

from aiohttp import web

from services.gateway.call import Call, Route
from services.gateway.edge.json_schema import TEXT, Named, object_of
from services.gateway.edge.params import OWN_BODY, STREAM
from services.gateway.edge.route import Param, Reply
from services.gateway.edge.validation import refused, validated
from services.gateway.faces.ai_sdk.parts import ui_messages
from services.gateway.faces.ai_sdk.renderer import HEADERS, UiMessageStream, chunk
from services.gateway.faces.ai_sdk.request import ChatRequest, StopRequest, Submitted
from services.gateway.faces.chats import (
    BEFORE,
    agent_of,
    checked_id,
    last_turn,
    page_before,
    read_conversation,
    session_for,
    session_of,
    stop_last,
)
from services.gateway.faces.placing import edited_message, new_message, regenerated
from services.gateway.streaming.admission import admission
from services.gateway.streaming.listener import Listener
from services.gateway.streaming.sse_response import stream_headers
from services.gateway.streaming.stream_session import StreamSession
from shared.contracts.errors import Code
from shared.contracts.keys import Scope
from shared.contracts.turns import ENDED, AdmitTurn, Turn
from shared.web.bodies import json_response, parse_public_json, read_body

VERSION: Final = Param(
    "x-ai-sdk-version",
    {"type": "string", "enum": ["5", "6", "7"]},
    "major version of the client's `ai` package; 7 has its text taken back if another worker takes a turn over",
    "header",
)
CHUNKS: Final = Named(
    "UiMessageChunk", object_of({"type": TEXT}, None, "A chunk of the UI message stream, or `[DONE]`, which comes last")
)
UI_MESSAGES: Final = Named(
    "UiMessages",
    object_of(
        {
            "messages": {
                "type": "array",
                "items": Named(
                    "UiMessage",
                    object_of(
                        {
                            "id": TEXT,
                            "role": {"enum": ["user", "assistant"]},
                            "parts": {"type": "array", "items": {"type": "object"}},
                        },
                        {"metadata": {"type": "object"}},
                    ),
                ),
            },
            "before": {
                "type": ["integer", "null"],
                "description": "for the messages in front of these; null: there are none",
            },
        }
    ),
)
STOPPED: Final = Named("ChatStopped", object_of({"success": {"const": True}}))
_PATH: Final = "/agents/{agentId}/ui/chat"


async def post_chat(call: Call) -> web.StreamResponse:
    agent_id, resets = agent_of(call), _resets(call)
    body = validated(ChatRequest, await read_conversation(call))
    chat_id, message = body.chat_id, body.submitted()
    if message is None:
        session_id = await session_of(call, agent_id, chat_id)
        if session_id is None:
            raise refused("messageId", "names no message of this chat")
        order: AdmitTurn | Turn = await regenerated(call, session_id, body.message_id)
    else:
        session_id = (await session_for(call, agent_id, chat_id, body)).id
        order = await _placed(call, session_id, body, message)
    with call.hold():
        if isinstance(order, Turn):
            return await _follow(call, order, resets=resets)
        if body.reasoning:
            order = order.model_copy(update={"reasoning": True})
        async with admission(call.dependencies, call.principal, order) as accepted:
            position = await accepted.enqueued
            waiting = [chunk("data-queue", data={"position": position}, transient=True)] if position else []
            return await _send(call, UiMessageStream(accepted.turn, resets=resets, first=waiting), accepted.listener)


async def _placed(call: Call, session_id: str, body: ChatRequest, message: Submitted) -> AdmitTurn | Turn:
    if body.message_id is not None:
        return await edited_message(call, session_id, message.text, body.message_id)
    return new_message(session_id, message.text, message.id)


async def _follow(call: Call, turn: Turn, *, resets: bool) -> web.StreamResponse:
    async with call.dependencies.hub.listen(call.workspace, turn.id) as listener:
        return await _send(call, UiMessageStream(turn, resets=resets), listener)


async def _send(call: Call, chunks: UiMessageStream, listener: Listener) -> web.StreamResponse:
    """The whole turn from its beginning: these clients send no cursor, and put a repeated message in its own place."""
    session = StreamSession(chunks, headers=HEADERS)
    return await session.follow(call.request, call.dependencies, call.workspace, chunks.turn, listener)


async def resume(call: Call) -> web.StreamResponse:
    """204 only where the client cannot have a part of an answer: it would take that part for the whole."""
    agent_id, resets = agent_of(call), _resets(call)
    session_id = await session_of(call, agent_id, _chat_id(call))
    turn = await last_turn(call, session_id) if session_id is not None else None
    if turn is None or _is_old(call, turn):
        return web.Response(status=204)
    if call.request.method == "HEAD":
        return stream_headers()
    with call.hold():
        return await _follow(call, turn, resets=resets)


def _is_old(call: Call, turn: Turn) -> bool:
    if turn.status not in ENDED or turn.ended_at is None:
        return False
    return turn.ended_at < datetime.now(UTC) - timedelta(seconds=call.dependencies.settings.log_keep_s)


async def stop(call: Call) -> web.StreamResponse:
    """Idempotent. A client's `stop()` only closes its connection, after which the turn goes on."""
    agent_id, raw = agent_of(call), await read_body(call.request)
    body = validated(StopRequest, parse_public_json(raw) if raw else {})
    session_id = await session_of(call, agent_id, _chat_id(call))
    await stop_last(call, session_id, body.active_stream_id)
    return json_response({"success": True})


async def list_messages(call: Call) -> web.StreamResponse:
    agent_id, before = agent_of(call), page_before(call.request)
    session_id = await session_of(call, agent_id, _chat_id(call))
    if session_id is None:
        return json_response({"messages": [], "before": None})
    page = await call.dependencies.history.branch(call.workspace, session_id, before)
    shown = [message for stored in page.turns for message in ui_messages(stored)]
    return json_response({"messages": shown, "before": page.next})


def _chat_id(call: Call) -> str:
    return checked_id("chatId", call.request.match_info["chatId"])


def _resets(call: Call) -> bool:
    """Whether the client knows `reset-step`. Older ones break at a chunk that they do not know."""
    version = call.request.headers.get(VERSION.name, "5")
    if version not in VERSION.schema["enum"]:
        raise refused(VERSION.name, "must be 5, 6 or 7: the major version of the client's ai package")
    return version == "7"


_REPLY: Final = Reply("chunks of the turn", CHUNKS, envelope=False, media_type=STREAM)

ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="POST",
        path=_PATH,
        serve=post_chat,
        scope=Scope.CHAT_WRITE,
        visitor=True,
        summary="AI SDK: send or regenerate a chat's message; the answer as a UI message stream",
        request=ChatRequest,
        params=(VERSION,),
        replies={200: (_REPLY,)},
        errors=(
            *OWN_BODY,
            Code.AGENT_NOT_FOUND,
            Code.NO_PUBLISHED_VERSION,
            Code.SESSION_NOT_FOUND,
            Code.SESSION_ENDED,
            Code.TURN_IN_PROGRESS,
            Code.IDEMPOTENCY_MISMATCH,
            Code.GONE,
            Code.BUDGET_EXCEEDED,
        ),
    ),
    Route(
        method="GET",
        path=_PATH + "/{chatId}/stream",
        serve=resume,
        scope=Scope.CHAT_READ,
        visitor=True,
        summary="AI SDK: the chat's last turn again, from its beginning",
        params=(VERSION,),
        replies={200: (_REPLY,), 204: (Reply("no turn runs, and none has just ended"),)},
        errors=(Code.AGENT_NOT_FOUND, Code.SESSION_NOT_FOUND),
    ),
    Route(
        method="POST",
        path=_PATH + "/{chatId}/stop",
        serve=stop,
        scope=Scope.CHAT_WRITE,
        visitor=True,
        summary="AI SDK: cancel the chat's running turn",
        request=StopRequest,
        body_optional=True,
        replies={200: (Reply("nothing runs any more, or ends soon", STOPPED, envelope=False),)},
        errors=(*OWN_BODY, Code.AGENT_NOT_FOUND, Code.SESSION_NOT_FOUND),
    ),
    Route(
        method="GET",
        path=_PATH + "/{chatId}/messages",
        serve=list_messages,
        scope=Scope.CHAT_READ,
        visitor=True,
        summary="AI SDK: the last messages of a chat's active branch",
        params=(BEFORE,),
        replies={200: (Reply("up to 50 turns as UI messages", UI_MESSAGES, envelope=False),)},
        errors=(Code.AGENT_NOT_FOUND, Code.SESSION_NOT_FOUND),
    ),
)
