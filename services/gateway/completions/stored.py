"""One stored completion: get, update, delete; and our extensions to OpenAI's API, resume and cancel."""

from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel

from services.gateway.call import Call, Route
from services.gateway.completions.chunks import ChunkStream
from services.gateway.completions.handler import resume_chunks
from services.gateway.completions.schemas import CANCELLED_COMPLETION, CHUNKS, DELETED_COMPLETION, STORED_COMPLETION
from services.gateway.completions.shapes import completion_shape, turn_id_of
from services.gateway.edge.params import BODY, OWN_BODY, STREAM
from services.gateway.edge.route import Param, Reply
from services.gateway.edge.validation import Metadata, no_body, validated_openai
from services.gateway.streaming.cursor import FRAME_ID, frame_id, last_event_id
from services.gateway.streaming.sse_response import stream_headers
from services.gateway.streaming.stream_session import StreamSession
from shared.contracts.errors import ApiError, Code
from shared.contracts.frames import BEGINNING
from shared.contracts.keys import Scope
from shared.contracts.turns import ENDED, StoredTurn, terminal_frame
from shared.ids import is_id
from shared.web.bodies import json_response, read_json


class UpdateCompletion(BaseModel):
    """The metadata that replaces the stored one; null removes all of it."""

    metadata: Metadata | None


def _turn_id(call: Call) -> str:
    turn_id = turn_id_of(call.request.match_info["completionId"])
    if not is_id("trn", turn_id):
        raise ApiError(Code.NOT_FOUND)
    return turn_id


async def _found(call: Call) -> StoredTurn:
    """The completion in the path, stored or running. Raises `gone`, and `not_found` also for a session's turn."""
    turn_id = _turn_id(call)
    try:
        stored = await call.dependencies.history.turn(call.workspace, turn_id)
    except ApiError as error:
        raise (ApiError(Code.NOT_FOUND) if error.code is Code.TURN_NOT_FOUND else error) from None
    if stored.turn.session_id is not None or stored.completion is None:
        raise ApiError(Code.NOT_FOUND)
    if stored.erased:
        raise ApiError(Code.GONE)
    return stored


async def kept(call: Call) -> StoredTurn:
    """As `_found`, but only a finished completion that its caller asked to store."""
    stored = await _found(call)
    if not (stored.completion and stored.completion.store) or stored.turn.status not in ("completed", "cancelled"):
        raise ApiError(Code.NOT_FOUND)
    return stored


async def get(call: Call) -> web.StreamResponse:
    if call.request.query.get("stream") == "true":
        return await _resume(call)
    return json_response(shown(await kept(call)))


def shown(stored: StoredTurn) -> dict[str, Any]:
    _, data = terminal_frame(stored.turn, stored.output)
    metadata = stored.completion.metadata if stored.completion else {}
    return {**completion_shape(stored.turn, data), "metadata": metadata}


async def update(call: Call) -> web.StreamResponse:
    body = validated_openai(UpdateCompletion, await read_json(call.request))
    try:
        stored = await call.dependencies.history.update_completion(call.workspace, _turn_id(call), body.metadata or {})
    except ApiError as error:
        raise (ApiError(Code.NOT_FOUND) if error.code is Code.TURN_NOT_FOUND else error) from None
    return json_response(shown(stored))


async def delete(call: Call) -> web.StreamResponse:
    """Idempotent: a client may repeat a deletion whose answer it did not get."""
    await no_body(call.request)
    try:
        await call.dependencies.history.delete_completion(call.workspace, _turn_id(call), call.principal.key_id)
    except ApiError as error:
        raise (ApiError(Code.NOT_FOUND) if error.code is Code.TURN_NOT_FOUND else error) from None
    return json_response(
        {"object": "chat.completion.deleted", "id": call.request.match_info["completionId"], "deleted": True}
    )


async def _resume(call: Call) -> web.StreamResponse:
    """The chunks after a cursor, or from the start, while the completion runs and as long as it is stored."""
    text = call.request.query.get("starting_after")
    after = frame_id(text, "starting_after") if text else last_event_id(call.request) or BEGINNING
    stored = await _found(call)
    if call.request.method == "HEAD":
        return stream_headers()
    include_usage = call.request.query.get("include_usage") == "true"
    session = StreamSession(ChunkStream(stored.turn, include_usage=include_usage, has_text=after != BEGINNING))
    with call.hold():
        async with call.dependencies.hub.listen(call.workspace, stored.turn.id) as listener:
            return await resume_chunks(call, session, stored, listener, after)


async def cancel(call: Call) -> web.StreamResponse:
    """Cancels a running completion. Idempotent."""
    await no_body(call.request)
    turn = (await _found(call)).turn
    if turn.status not in ENDED:
        turn = await call.dependencies.history.cancel(call.workspace, turn.id)
    return json_response(
        {"id": call.request.match_info["completionId"], "object": "chat.completion", "status": turn.status}
    )


ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="POST",
        path="/chat/completions/{completionId}",
        serve=update,
        scope=Scope.CHAT_WRITE,
        summary="Replace a stored completion's metadata",
        request=UpdateCompletion,
        replies={200: (Reply("the completion", STORED_COMPLETION, envelope=False),)},
        errors=(*BODY, Code.NOT_FOUND),
        openai=True,
    ),
    Route(
        method="DELETE",
        path="/chat/completions/{completionId}",
        serve=delete,
        scope=Scope.CHAT_WRITE,
        summary="Erase a stored completion",
        replies={200: (Reply("it is gone", DELETED_COMPLETION, envelope=False),)},
        errors=(*OWN_BODY, Code.NOT_FOUND),
        openai=True,
    ),
    Route(
        method="GET",
        path="/chat/completions/{completionId}",
        serve=get,
        scope=Scope.CHAT_READ,
        summary="Get a stored completion; with `stream=true`, follow or resume one (an extension)",
        params=(
            Param("stream", {"enum": ["true", "false"]}, "follow the chunks instead"),
            Param("starting_after", FRAME_ID, "`parley.cursor` of the last chunk that was received"),
            Param("include_usage", {"enum": ["true", "false"]}, "end the stream with a usage chunk"),
        ),
        replies={
            200: (
                Reply("the completion", STORED_COMPLETION, envelope=False),
                Reply("chunks, then `[DONE]`", CHUNKS, envelope=False, media_type=STREAM),
            )
        },
        errors=(Code.NOT_FOUND, Code.GONE),
        openai=True,
    ),
    Route(
        method="POST",
        path="/chat/completions/{completionId}/cancel",
        serve=cancel,
        scope=Scope.CHAT_WRITE,
        summary="Cancel a running completion (an extension)",
        body_optional=True,
        replies={200: (Reply("as it stands; it may still be running", CANCELLED_COMPLETION, envelope=False),)},
        errors=(*OWN_BODY, Code.NOT_FOUND, Code.GONE),
        openai=True,
    ),
)
