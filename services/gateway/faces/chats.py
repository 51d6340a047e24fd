"""Chats: for faces whose clients name their conversations themselves. A chat is a session with the client's own id.

A visitor's chat has the id of the visitor's session. That id opens the session for keys too.
"""

from typing import Any, Final, NamedTuple

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from services.gateway.call import Call
from services.gateway.edge.route import Param
from services.gateway.edge.validation import Metadata, refused
from shared.contracts.errors import ApiError, Code
from shared.contracts.sessions import MAX_CLIENT_ID, EndUser
from shared.contracts.turns import ENDED, Turn
from shared.ids import is_id, new_id
from shared.web.bodies import read_json

BEFORE: Final = Param("before", {"type": "integer", "minimum": 1}, "`before` of the page that follows")


# Chat kits send the whole conversation with each message. Times `PARLEY_BODY_LIMIT`.
CONVERSATION: Final = 8


class NewChat(BaseModel):
    """What a client may send beside its first message, for the session that this message creates."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, hide_input_in_errors=True)

    metadata: Metadata = Field(default_factory=dict, description="of the session; it has the values of variables")
    end_user: EndUser | None = Field(default=None, alias="endUser", description="who talks to the agent")


class ChatSession(NamedTuple):
    """`is_new`: this request has made it."""

    id: str
    is_new: bool


async def read_conversation(call: Call) -> Any:
    """The JSON body of a request that may hold a whole conversation."""
    return await read_json(call.request, CONVERSATION * call.dependencies.settings.body_limit)


def agent_of(call: Call) -> str:
    """Raises `agent_not_found` also for a visitor of another agent."""
    agent_id = call.path_id("agentId", "agt", Code.AGENT_NOT_FOUND)
    if call.principal.visitor is not None and call.principal.agent_id != agent_id:
        raise ApiError(Code.AGENT_NOT_FOUND)
    return agent_id


def checked_id(name: str, text: str) -> str:
    """An id that a client has made. Raises `invalid_request`."""
    if not 0 < len(text) <= MAX_CLIENT_ID or not text.isprintable():
        raise refused(name, f"must have 1 to {MAX_CLIENT_ID} printable characters")
    return text


async def session_of(call: Call, agent_id: str, chat_id: str) -> str | None:
    """The chat's session; None: there is none yet. Raises `session_not_found`, `agent_not_found`."""
    if (own := await _own(call, agent_id, chat_id)) is not None:
        return own
    try:
        return (await call.dependencies.history.client_session(call.workspace, agent_id, chat_id)).id
    except ApiError as error:
        if error.code is not Code.SESSION_NOT_FOUND:
            raise
    await call.dependencies.history.published_agent(call.workspace, agent_id)
    return None


async def session_for(call: Call, agent_id: str, chat_id: str, new: NewChat) -> ChatSession:
    """The chat's session, which is created if there is none. Raises as creating a session does."""
    if (own := await _own(call, agent_id, chat_id)) is not None:
        return ChatSession(own, is_new=False)
    session_id = new_id("ses")
    session = await call.dependencies.history.create_session(
        call.workspace, session_id, agent_id, dict(new.metadata), False, new.end_user, chat_id
    )
    return ChatSession(session.id, is_new=session.id == session_id)


async def last_turn(call: Call, session_id: str) -> Turn | None:
    """The last turn of the session's active branch."""
    page = await call.dependencies.history.branch(call.workspace, session_id, limit=1)
    return page.turns[-1].turn if page.turns else None


async def stop_last(call: Call, session_id: str | None, turn_id: str | None = None) -> None:
    """Cancels the chat's running turn, unless `turn_id` names another one. Idempotent."""
    turn = await last_turn(call, session_id) if session_id is not None else None
    if turn is not None and turn.status not in ENDED and turn_id in (None, turn.id):
        await call.dependencies.history.cancel(call.workspace, turn.id)


def page_before(request: web.Request) -> int | None:
    """`?before=`, for the page in front of another one. Raises `invalid_request`."""
    text = request.query.get("before")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) > 0):
        raise refused("before", "must be `before` of another page")
    return int(text)


async def _own(call: Call, agent_id: str, chat_id: str) -> str | None:
    """The session that the chat's id itself names."""
    visitor = call.principal.visitor
    if visitor is not None:
        if chat_id != visitor.session_id:
            raise ApiError(
                Code.SESSION_NOT_FOUND, "With a visitor token, the chat's id is the id of the token's session."
            )
        return chat_id
    if not is_id("ses", chat_id):
        return None
    session = await call.dependencies.history.session(call.workspace, chat_id)
    if session.agent_id != agent_id:
        raise ApiError(Code.SESSION_NOT_FOUND)
    return session.id
