"""Where a client's message belongs: behind the chat's last turn, or in the place of one that the client names.

Clients name messages by ids of their own, or by the id of the turn that answered.
"""

import hashlib
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from services.gateway.call import Call
from services.gateway.edge.validation import canonical, refused
from shared.contracts.errors import ApiError, Code
from shared.contracts.sessions import TurnMessage
from shared.contracts.turns import AdmitTurn, StoredTurn, Turn
from shared.ids import is_id, new_id

TURNS_PER_READ: Final = 50
# A client edits what it shows. Nobody shows more turns than this.
MAX_TURNS: Final = 500


def new_message(session_id: str, text: str, client_id: str | None) -> AdmitTurn:
    """The order for a turn at the end of the chat. The message's own id makes it repeatable."""
    return _order(session_id, text, client_id, ["message", client_id] if client_id else None)


async def edited_message(call: Call, session_id: str, text: str, client_id: str) -> AdmitTurn | Turn:
    """The order for a turn in the place of the one that answered the message before it was edited.

    The turn itself if its message has this text: then the request is a repeat. Raises `invalid_request` for an unknown
    message.
    """
    stored = await _named(call, session_id, client_id)
    if stored.turn.status != "failed" and stored.input and stored.input[-1].content == text:
        return stored.turn
    key = ["edit", client_id, stored.turn.id, text]
    return _order(session_id, text, client_id, key, instead_of=stored.turn.id)


async def regenerated(call: Call, session_id: str, message_id: str | None) -> AdmitTurn:
    """The order for another answer in the place of the named one, or of the last.

    Raises `invalid_request` for an unknown message, `gone` for one whose text was erased.
    """
    stored = await _named(call, session_id, message_id)
    if stored.erased or not stored.input:
        raise ApiError(Code.GONE)
    said = stored.input[-1]
    key = ["regenerate", stored.turn.id] if message_id is not None else None
    return _order(session_id, said.content or "", said.client_id, key, instead_of=stored.turn.id)


async def turn_of_message(call: Call, session_id: str, client_id: str) -> Turn | None:
    """The turn on the chat's active branch that answered the client's message."""
    async for stored in _latest(call, session_id):
        if client_id in {message.client_id for message in stored.input}:
            return stored.turn
    return None


async def _named(call: Call, session_id: str, message_id: str | None) -> StoredTurn:
    """By the id of a turn, also of one that has been replaced, or by the client's id of its message.

    None: the last one.
    """
    if message_id is not None and is_id("trn", message_id):
        with suppress(ApiError):
            named = await call.dependencies.history.turn(call.workspace, message_id)
            if named.turn.session_id == session_id:
                return named
    async for stored in _latest(call, session_id):
        if message_id is None or message_id in {message.client_id for message in stored.input}:
            return stored
    raise refused("messageId", "names no message of this chat")


async def _latest(call: Call, session_id: str) -> AsyncIterator[StoredTurn]:
    """The turns of the active branch, the last one first."""
    before: int | None = None
    for _ in range(0, MAX_TURNS, TURNS_PER_READ):
        page = await call.dependencies.history.branch(call.workspace, session_id, before, TURNS_PER_READ)
        for stored in reversed(page.turns):
            yield stored
        before = page.next
        if before is None:
            return


def _order(
    session_id: str, text: str, client_id: str | None, key: list[str] | None, instead_of: str | None = None
) -> AdmitTurn:
    message = TurnMessage(
        id=new_id("msg"), client_id=client_id, role="user", content=text, created_at=datetime.now(UTC)
    )
    return AdmitTurn(
        turn_id=new_id("trn"),
        session_id=session_id,
        instead_of=instead_of,
        messages=(message,),
        idempotency_key=hashlib.sha256(canonical(key)).hexdigest() if key is not None else None,
        body_digest=hashlib.sha256(canonical([text, instead_of])).hexdigest(),
    )
