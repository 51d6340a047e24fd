"""Completions that were kept: list, get, update, delete, messages, resume and cancel. The last two are ours, not OpenAI's."""

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson
from aiohttp import web
from multidict import MultiMapping
from pydantic import BaseModel

from services.gateway.completions.chunks import ChunkStream
from services.gateway.completions.handler import resume_chunks
from services.gateway.completions.shapes import completion_shape, message_shape, turn_id_of
from services.gateway.edge.route import Call
from services.gateway.edge.validation import Metadata, no_body, page_limit, refused, validated_openai
from services.gateway.streaming.cursor import frame_id, last_event_id
from services.gateway.streaming.sse_response import stream_headers
from services.gateway.streaming.stream_session import StreamSession
from shared.contracts.errors import ApiError, Code
from shared.contracts.frames import BEGINNING
from shared.contracts.turns import ENDED, StoredTurn, terminal_frame
from shared.ids import is_id
from shared.web.bodies import json_response, read_json

_ORDERS: Final = ("asc", "desc")
# OpenAI's name of a filter: `metadata[key]=value`.
_LABEL: Final = re.compile(r"metadata\[(.*)\]", re.DOTALL)
MAX_LABELS: Final = 16


class UpdateCompletion(BaseModel):
    """The metadata that takes the place of what stands there; null empties it."""

    metadata: Metadata | None


def _turn_id(call: Call) -> str:
    turn_id = turn_id_of(call.request.match_info["completionId"])
    if not is_id("trn", turn_id):
        raise ApiError(Code.NOT_FOUND)
    return turn_id


async def _found(call: Call) -> StoredTurn:
    """The completion of the path, kept or still running. Raises `not_found`, also for a session's turn, and `gone`."""
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


async def _kept(call: Call) -> StoredTurn:
    """As `_found`, but only what its caller asked to be stored, once it is there."""
    stored = await _found(call)
    if not (stored.completion and stored.completion.store) or stored.turn.status not in ("completed", "cancelled"):
        raise ApiError(Code.NOT_FOUND)
    return stored


async def get(call: Call) -> web.StreamResponse:
    if call.request.query.get("stream") == "true":
        return await _resume(call)
    return json_response(_shown(await _kept(call)))


def _shown(stored: StoredTurn) -> dict[str, Any]:
    _, data = terminal_frame(stored.turn, stored.output)
    metadata = stored.completion.metadata if stored.completion else {}
    return {**completion_shape(stored.turn, data), "metadata": metadata}


async def list_all(call: Call) -> web.StreamResponse:
    """A page of the workspace's, after the completion `after`."""
    page = await call.dependencies.history.completions(call.workspace, _list_query(call.request.query))
    shapes = [_shown(StoredTurn.model_validate(item)) for item in page["items"]]
    return json_response(_listed(shapes, more=page["nextCursor"] is not None))


def _list_query(query: MultiMapping[str]) -> list[tuple[str, str]]:
    """The listing's parameters as history takes them. Raises `invalid_request`."""
    found = [("limit", str(page_limit(query, 20))), ("order", _order(query))]
    if (after := query.get("after")) is not None:
        if not is_id("trn", turn_id_of(after)):
            raise refused("after", "is not a completion's id")
        found.append(("after", turn_id_of(after)))
    if (model := query.get("model")) is not None:
        found.append(("agentId", model))
    labels = [(match[1], value) for name, value in query.items() if (match := _LABEL.fullmatch(name))]
    if len(labels) > MAX_LABELS:
        raise refused("metadata", f"may have at most {MAX_LABELS} pairs")
    return found + [("label", orjson.dumps(label).decode()) for label in labels]


def _order(query: Mapping[str, str]) -> str:
    order = query.get("order", "asc")
    if order not in _ORDERS:
        raise refused("order", "must be one of asc, desc")
    return order


def _listed(shapes: list[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    edges = {"first_id": shapes[0]["id"] if shapes else None, "last_id": shapes[-1]["id"] if shapes else None}
    return {"object": "list", "data": shapes, **edges, "has_more": more}


async def update(call: Call) -> web.StreamResponse:
    body = validated_openai(UpdateCompletion, await read_json(call.request))
    try:
        stored = await call.dependencies.history.update_completion(call.workspace, _turn_id(call), body.metadata or {})
    except ApiError as error:
        raise (ApiError(Code.NOT_FOUND) if error.code is Code.TURN_NOT_FOUND else error) from None
    return json_response(_shown(stored))


async def delete(call: Call) -> web.StreamResponse:
    """Idempotent: a repeat of a deletion that was not answered is no error."""
    await no_body(call.request)
    try:
        await call.dependencies.history.delete_completion(call.workspace, _turn_id(call))
    except ApiError as error:
        raise (ApiError(Code.NOT_FOUND) if error.code is Code.TURN_NOT_FOUND else error) from None
    return json_response(
        {"object": "chat.completion.deleted", "id": call.request.match_info["completionId"], "deleted": True}
    )


async def messages(call: Call) -> web.StreamResponse:
    """A page of the caller's messages, after the message `after`."""
    query = call.request.query
    limit, order = page_limit(query, 20), _order(query)
    stored = await _kept(call)
    name = call.request.match_info["completionId"]
    shapes = [message_shape(name, index, message) for index, message in enumerate(stored.input)]
    if order == "desc":
        shapes.reverse()
    ids = [shape["id"] for shape in shapes]
    after = query.get("after")
    if after is not None and after not in ids:
        raise refused("after", "is not a message of this completion")
    start = ids.index(after) + 1 if after is not None else 0
    page = shapes[start : start + limit]
    return json_response(_listed(page, more=start + limit < len(shapes)))


async def _resume(call: Call) -> web.StreamResponse:
    """The chunks after a cursor, or from the start, while the completion runs and as long as it is kept."""
    text = call.request.query.get("starting_after")
    after = frame_id(text, "starting_after") if text else last_event_id(call.request) or BEGINNING
    stored = await _found(call)
    if call.request.method == "HEAD":
        return stream_headers()
    include_usage = call.request.query.get("include_usage") == "true"
    session = StreamSession(ChunkStream(stored.turn, include_usage=include_usage, has_text=after != BEGINNING))
    with call.dependencies.limits.hold(call.principal.key_id):
        async with call.dependencies.hub.listen(call.workspace, stored.turn.id) as listener:
            return await resume_chunks(call, session, stored, listener, after)


async def cancel(call: Call) -> web.StreamResponse:
    """Asks for the end of a running completion; idempotent."""
    await no_body(call.request)
    turn = (await _found(call)).turn
    if turn.status not in ENDED:
        turn = await call.dependencies.history.cancel(call.workspace, turn.id)
    return json_response(
        {"id": call.request.match_info["completionId"], "object": "chat.completion", "status": turn.status}
    )
