"""One response: get, follow or resume, cancel, delete, and its input."""

from typing import Any, Final

from aiohttp import web

from services.gateway.call import Call, Route
from services.gateway.edge.params import OWN_BODY, STREAM
from services.gateway.edge.route import Param, Reply
from services.gateway.edge.validation import no_body, page_limit, refused
from services.gateway.faces.responses.ids import turn_id_of
from services.gateway.faces.responses.input_items import input_items
from services.gateway.faces.responses.renderer import ResponseStream
from services.gateway.faces.responses.request import RESULTS
from services.gateway.faces.responses.schemas import DELETED_RESPONSE, INPUT_ITEMS, RESPONSE, RESPONSE_EVENTS
from services.gateway.faces.responses.shapes import stored_response
from services.gateway.streaming.sse_response import stream_headers
from services.gateway.streaming.stream_session import StreamSession
from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import Scope
from shared.contracts.turns import ENDED, StoredTurn
from shared.web.bodies import json_response

MAX_NUMBER_DIGITS: Final = 9


async def found(call: Call, *, text: bool = True, erased: bool = False) -> StoredTurn:
    """The response in the path: a turn of a session. Raises `not_found`, and `gone` unless `erased` ones count too."""
    if (turn_id := turn_id_of(call.request.match_info["responseId"])) is None:
        raise ApiError(Code.NOT_FOUND)
    try:
        stored = await call.dependencies.history.turn(call.workspace, turn_id, text=text)
    except ApiError as error:
        raise (ApiError(Code.NOT_FOUND) if error.code is Code.TURN_NOT_FOUND else error) from None
    if stored.turn.session_id is None:
        raise ApiError(Code.NOT_FOUND)
    if stored.erased and not erased:
        raise ApiError(Code.GONE)
    return stored


async def get(call: Call) -> web.StreamResponse:
    if call.request.query.get("stream") == "true":
        return await _follow(call)
    return json_response(stored_response(await found(call), shows_results=_shows_results(call)))


def _shows_results(call: Call) -> bool:
    """`include` comes as `include=`, `include[]=` or `include[0]=`, by the client's language."""
    return any(value == RESULTS for name, value in call.request.query.items() if name.startswith("include"))


def _starting_after(call: Call) -> int:
    text = call.request.query.get("starting_after")
    if text is None:
        return -1
    if not (text.isascii() and text.isdecimal() and len(text) <= MAX_NUMBER_DIGITS):
        raise refused("starting_after", "must be the sequence_number of an event")
    return int(text)


async def _follow(call: Call) -> web.StreamResponse:
    """The events after a number, or all of them, while the turn runs and after its end."""
    after = _starting_after(call)
    stored = await found(call)
    if call.request.method == "HEAD":
        return stream_headers()
    turn = stored.turn
    renderer = ResponseStream(turn, stored.completion, after=after, shows_results=_shows_results(call))
    session = StreamSession(renderer)
    with call.hold():
        async with call.dependencies.hub.listen(call.workspace, turn.id) as listener:
            return await session.follow(call.request, call.dependencies, call.workspace, turn, listener)


async def cancel(call: Call) -> web.StreamResponse:
    """Cancels a running response. Idempotent."""
    await no_body(call.request)
    stored = await found(call)
    if stored.turn.status not in ENDED:
        turn = await call.dependencies.history.cancel(call.workspace, stored.turn.id)
        stored = await found(call) if turn.status in ENDED else stored
    return json_response(stored_response(stored))


async def delete(call: Call) -> web.StreamResponse:
    """Erases what was said in the turn. The responses that follow it stay, and lose it as their context."""
    await no_body(call.request)
    stored = await found(call, text=False, erased=True)
    await call.dependencies.history.delete_turn(call.workspace, stored.turn.id, call.principal.key_id)
    return json_response({"id": call.request.match_info["responseId"], "object": "response", "deleted": True})


async def list_input(call: Call) -> web.StreamResponse:
    query = call.request.query
    order, after, limit = query.get("order", "desc"), query.get("after"), page_limit(query, 20)
    if order not in ("asc", "desc"):
        raise refused("order", "must be one of asc, desc")
    items = input_items(await found(call))
    return json_response(_page(items if order == "asc" else items[::-1], after, limit))


def _page(items: list[dict[str, Any]], after: str | None, limit: int) -> dict[str, Any]:
    ids = [item["id"] for item in items]
    if after is not None and after not in ids:
        raise refused("after", "must be the id of an item of this list")
    start = ids.index(after) + 1 if after is not None else 0
    page = items[start : start + limit]
    edges = {"first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}
    return {"object": "list", "data": page, **edges, "has_more": start + limit < len(items)}


_INCLUDE: Final = Param("include", {"type": "string"}, f"`{RESULTS}` adds the passages that were found")

ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="GET",
        path="/responses/{responseId}",
        serve=get,
        scope=Scope.CHAT_READ,
        summary="Get a response; with `stream=true`, follow or resume it",
        params=(
            Param("stream", {"enum": ["true", "false"]}, "follow the events instead"),
            Param(
                "starting_after",
                {"type": "integer", "minimum": 0, "maximum": 10**MAX_NUMBER_DIGITS - 1},
                "`sequence_number` of the last event that was received",
            ),
            _INCLUDE,
        ),
        replies={
            200: (
                Reply("the response", RESPONSE, envelope=False),
                Reply("events, then `[DONE]`", RESPONSE_EVENTS, envelope=False, media_type=STREAM),
            )
        },
        errors=(Code.NOT_FOUND, Code.GONE),
        openai=True,
    ),
    Route(
        method="DELETE",
        path="/responses/{responseId}",
        serve=delete,
        scope=Scope.CHAT_WRITE,
        summary="Erase a response",
        replies={200: (Reply("it is gone", DELETED_RESPONSE, envelope=False),)},
        errors=(*OWN_BODY, Code.NOT_FOUND, Code.TURN_IN_PROGRESS),
        openai=True,
    ),
    Route(
        method="POST",
        path="/responses/{responseId}/cancel",
        serve=cancel,
        scope=Scope.CHAT_WRITE,
        summary="Cancel a running response; what was answered so far is kept",
        body_optional=True,
        replies={200: (Reply("as it stands; it may still be running", RESPONSE, envelope=False),)},
        errors=(*OWN_BODY, Code.NOT_FOUND, Code.GONE),
        openai=True,
    ),
    Route(
        method="GET",
        path="/responses/{responseId}/input_items",
        serve=list_input,
        scope=Scope.CHAT_READ,
        summary="List what a response was asked",
        params=(
            Param("limit", {"type": "integer", "minimum": 1, "maximum": 200, "default": 20}, "how many at most"),
            Param("order", {"enum": ["asc", "desc"], "default": "desc"}, "oldest or newest first"),
            Param("after", {"type": "string"}, "`last_id` of the page before"),
        ),
        replies={200: (Reply("a page of items", INPUT_ITEMS, envelope=False),)},
        errors=(Code.NOT_FOUND, Code.GONE),
        openai=True,
    ),
)
