"""Contexts: a session of the agent, under its own id or under one that the client has made up."""

import hashlib
from typing import Final

from services.gateway.call import Call
from services.gateway.faces.a2a.errors import PARAMS, A2aError
from services.gateway.faces.a2a.requests import SentMessage
from shared.contracts.errors import ApiError, Code
from shared.contracts.sessions import Session
from shared.contracts.turns import StoredTurn
from shared.ids import is_id, new_id

# The client id of the session that a message without a context has begun: its repeat finds the same session.
_BEGUN_BY: Final = "a2a-message:"


def label_of(session: Session) -> str:
    """What the client calls the session."""
    own = session.client_id
    return session.id if own is None or own.startswith(_BEGUN_BY) else own


async def context_of(call: Call, stored: StoredTurn) -> str:
    assert stored.turn.session_id is not None
    return label_of(await call.dependencies.history.session(call.workspace, stored.turn.session_id))


async def named_session(call: Call, agent_id: str, context_id: str) -> Session:
    """Raises `session_not_found` also for a session of another agent."""
    history = call.dependencies.history
    if not is_id("ses", context_id):
        return await history.client_session(call.workspace, agent_id, context_id)
    session = await history.session(call.workspace, context_id)
    if session.agent_id != agent_id:
        raise ApiError(Code.SESSION_NOT_FOUND)
    return session


async def session_for(call: Call, agent_id: str, message: SentMessage) -> Session:
    """The session of the message's context, which begins with it where the client made up its id or named none."""
    if is_id("ses", message.context_id):
        return await named_session(call, agent_id, message.context_id)
    if message.context_id.startswith(_BEGUN_BY):
        raise A2aError(PARAMS, f"contextId must not begin with {_BEGUN_BY}.")
    begun_by = _BEGUN_BY + hashlib.sha256(message.message_id.encode()).hexdigest()
    return await call.dependencies.history.create_session(
        call.workspace,
        new_id("ses"),
        agent_id,
        message.pairs,
        draft=False,
        client_id=message.context_id or begun_by,
    )
