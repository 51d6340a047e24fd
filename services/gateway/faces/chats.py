"""Chats: for faces whose clients name their conversations themselves. A chat is a session with the client's own id.

A visitor's chat has the id of the visitor's session. That id opens the session for keys too.
"""

from pydantic import BaseModel, ConfigDict, Field

from services.gateway.call import Call
from services.gateway.edge.validation import Metadata, refused
from shared.contracts.errors import ApiError, Code
from shared.contracts.sessions import MAX_CLIENT_ID, EndUser
from shared.ids import is_id, new_id


class NewChat(BaseModel):
    """What a client may send beside its first message, for the session that this message creates."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, hide_input_in_errors=True)

    metadata: Metadata = Field(default_factory=dict, description="of the session; it has the values of variables")
    end_user: EndUser | None = Field(default=None, alias="endUser", description="who talks to the agent")


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


async def session_for(call: Call, agent_id: str, chat_id: str, new: NewChat) -> str:
    """The chat's session, which is created if there is none. Raises as creating a session does."""
    if (own := await _own(call, agent_id, chat_id)) is not None:
        return own
    session = await call.dependencies.history.create_session(
        call.workspace, new_id("ses"), agent_id, dict(new.metadata), False, new.end_user, chat_id
    )
    return session.id


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
