"""Sessions and their messages over HTTP."""

from typing import Final

from aiohttp import web
from pydantic import BaseModel, Field

from services.history.api.bodies import read_schema
from services.history.api.nouns import nouns
from services.history.api.paging import bad_cursor, cursor_of, cursor_values, direction_of, limit_of, page_of
from services.history.api.paths import SESSION, WORKSPACE, path_id, workspace_of
from services.history.api.session_filters import filters_of, searched_words
from services.history.sessions.search import Asked, is_position
from services.history.sessions.session_turns import MAX_TURNS
from services.history.sessions.sessions import NewSession
from services.history.sessions.transcript import Position
from shared.contracts.errors import ApiError, Code
from shared.contracts.sessions import EndedReason
from shared.ids import is_id
from shared.web.bodies import json_response

MAX_STATES: Final = 5000


class SessionName(BaseModel):
    workspace: str
    session_id: str = Field(alias="sessionId")


class SessionNames(BaseModel):
    sessions: tuple[SessionName, ...] = Field(max_length=MAX_STATES)


class Ending(BaseModel):
    reason: EndedReason = "api"


async def post_session(request: web.Request) -> web.Response:
    new = await read_schema(request, NewSession)
    session = await nouns(request).sessions.create(workspace_of(request), new)
    return json_response(session.wire(), status=201)


async def get_session(request: web.Request) -> web.Response:
    session = await nouns(request).sessions.read(workspace_of(request), path_id(request, "session_id"))
    return json_response(session.wire())


async def get_client_session(request: web.Request) -> web.Response:
    """By the `agentId` and the `clientId` of the query."""
    asked = request.query.get("agentId", ""), request.query.get("clientId", "")
    session = await nouns(request).sessions.of_client(workspace_of(request), *asked)
    if session is None:
        raise ApiError(Code.SESSION_NOT_FOUND)
    return json_response(session.wire())


async def get_sessions(request: web.Request) -> web.Response:
    filters, direction = filters_of(request), direction_of(request, "desc")
    values = cursor_values(request, str)
    after = values[0] if values else request.query.get("after")
    search = nouns(request).search
    words = searched_words(request, is_searched=search is not None)
    if after is not None and not (is_position(after) if words else is_id("ses", after)):
        raise bad_cursor()
    workspace, limit = workspace_of(request), limit_of(request)
    if words and search is not None:
        asked = Asked(workspace, words, filters, direction, after)
        sessions, following = await search.page(asked, limit)
    else:
        sessions, following = await nouns(request).sessions.page(workspace, filters, direction, after, limit)
    cursor = cursor_of([following]) if following else None
    return json_response(page_of([session.wire() for session in sessions], cursor))


async def post_end(request: web.Request) -> web.Response:
    reason = (await read_schema(request, Ending)).reason
    session = await nouns(request).sessions.end(workspace_of(request), path_id(request, "session_id"), reason)
    return json_response(session.wire())


async def delete_session(request: web.Request) -> web.Response:
    await nouns(request).sessions.delete(
        workspace_of(request), path_id(request, "session_id"), request.query.get("actor")
    )
    return web.Response(status=204)


async def get_messages(request: web.Request) -> web.Response:
    direction = direction_of(request)
    values = cursor_values(request, str, int, int)
    if values is not None and (values[0] != direction or not (0 < values[1] < 2**31 and 0 <= values[2] < 2**31)):
        raise bad_cursor()
    after = Position(values[1], values[2]) if values is not None else None
    messages, last = await nouns(request).transcript.page(
        workspace_of(request),
        path_id(request, "session_id"),
        direction,
        after,
        limit_of(request),
        branches=request.query.get("branches") == "all",
    )
    return json_response(page_of(messages, cursor_of([direction, *last]) if last else None))


async def get_turns(request: web.Request) -> web.Response:
    start, limit = _number(request, "start") or 1, limit_of(request, MAX_TURNS)
    page = await nouns(request).session_turns.page(workspace_of(request), path_id(request, "session_id"), start, limit)
    return json_response(page.wire())


async def get_branch(request: web.Request) -> web.Response:
    before, limit = _number(request, "before"), limit_of(request, MAX_TURNS)
    page = await nouns(request).session_turns.branch(
        workspace_of(request), path_id(request, "session_id"), before, limit
    )
    return json_response(page.wire())


def _number(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) > 0):
        raise ApiError(Code.INVALID_REQUEST, f"{name} must be the number of a turn.", param=name)
    return int(text)


async def post_states(request: web.Request) -> web.Response:
    names = (await read_schema(request, SessionNames)).sessions
    states = await nouns(request).session_turns.states([(name.workspace, name.session_id) for name in names])
    return json_response([state.wire() if state is not None else None for state in states])


ROUTES: Final = (
    web.post(WORKSPACE + "/sessions", post_session),
    web.get(WORKSPACE + "/sessions", get_sessions),
    web.get(WORKSPACE + "/client-session", get_client_session),
    web.get(SESSION, get_session),
    web.post(SESSION + "/end", post_end),
    web.delete(SESSION, delete_session),
    web.get(SESSION + "/messages", get_messages),
    web.get(SESSION + "/turns", get_turns),
    web.get(SESSION + "/branch", get_branch),
    web.post("/sessions/states", post_states),
)
