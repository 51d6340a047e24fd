"""Where a new response belongs: into a conversation that goes on, into a new one, or into none."""

import hashlib
from contextlib import suppress
from typing import NamedTuple

from services.gateway.call import Call
from services.gateway.edge.model_names import is_model
from services.gateway.edge.validation import refused
from services.gateway.faces.responses.ids import turn_id_of
from services.gateway.faces.responses.request import CreateResponse
from shared.contracts.errors import ApiError, Code
from shared.contracts.turns import ENDED
from shared.ids import is_id, new_id


class Place(NamedTuple):
    """`session_id` None: the response is not stored, and `model` answers it.

    `previous`: the turn that it follows, where the request names one. `is_new`: the session was made for it.
    """

    session_id: str | None = None
    model: str | None = None
    previous: str | None = None
    is_new: bool = False


async def place_of(call: Call, body: CreateResponse, key: str | None) -> Place:
    """`key`: the request's idempotency key. A repeat belongs into the session of the first request.

    Raises `model_not_found`, `not_found`, `gone`, `turn_in_progress`, `invalid_request`.
    """
    if body.model is not None and not is_model(body.model):
        raise ApiError(Code.MODEL_NOT_FOUND, param="model")
    if body.previous_response_id is not None:
        return await _behind(call, body, body.previous_response_id)
    if body.conversation is not None:
        return await _in_conversation(call, body, body.conversation)
    if not body.stored:
        return Place(model=body.model)
    return await _new_session(call, body, key)


async def _behind(call: Call, body: CreateResponse, response: str) -> Place:
    missing = ApiError(Code.NOT_FOUND, "There is no such response to follow.", param="previous_response_id")
    if (turn_id := turn_id_of(response)) is None:
        raise missing
    try:
        stored = await call.dependencies.history.turn(call.workspace, turn_id, text=False)
    except ApiError as error:
        raise (missing if error.code is Code.TURN_NOT_FOUND else error) from None
    turn = stored.turn
    if turn.session_id is None or stored.erased:
        raise missing
    if turn.status not in ENDED:
        detail = "The response to follow has not ended yet."
        raise ApiError(Code.TURN_IN_PROGRESS, detail, param="previous_response_id", members={"activeTurnId": turn.id})
    await _refuse_other_agent(call, body, turn.agent_id)
    return Place(turn.session_id, previous=turn.id)


async def _in_conversation(call: Call, body: CreateResponse, conversation: str) -> Place:
    missing = ApiError(Code.NOT_FOUND, "There is no such conversation.", param="conversation")
    if not is_id("ses", conversation):
        raise missing
    if body.model is not None:
        try:
            session = await call.dependencies.history.session(call.workspace, conversation)
        except ApiError as error:
            raise (missing if error.code is Code.SESSION_NOT_FOUND else error) from None
        await _refuse_other_agent(call, body, session.agent_id)
    return Place(conversation)


async def _refuse_other_agent(call: Call, body: CreateResponse, agent_id: str) -> None:
    """A conversation stays with the agent, and the version, that it began with."""
    if body.model is None or body.model.partition("@")[0] == agent_id:
        return
    named, _ = await call.dependencies.history.resolve_model(call.workspace, body.model)
    if named != agent_id:
        raise refused("model", "must be the agent that the conversation began with")


async def _new_session(call: Call, body: CreateResponse, key: str | None) -> Place:
    history, made = call.dependencies.history, new_id("ses")
    agent_id, version = await _named_agent(call, body.model or "")
    known_as = f"response-{hashlib.sha256(key.encode()).hexdigest()}" if key is not None else None
    try:
        session = await history.create_session(
            call.workspace, made, agent_id, body.metadata or {}, False, body.end_user(), known_as, version
        )
    except ApiError as error:
        is_absent = error.code in (Code.AGENT_NOT_FOUND, Code.NO_PUBLISHED_VERSION)
        raise (ApiError(Code.MODEL_NOT_FOUND, param="model") if is_absent else error) from None
    return Place(session.id, is_new=session.id == made)


async def _named_agent(call: Call, model: str) -> tuple[str, int | None]:
    """The agent, and its version unless it is the published one. An agent's id costs no question to history."""
    if is_id("agt", model):
        return model, None
    return await call.dependencies.history.resolve_model(call.workspace, model)


async def withdraw(call: Call, place: Place) -> None:
    """The session of a response that was not accepted. If this fails, it stays behind empty."""
    if place.is_new and place.session_id is not None:
        with suppress(ApiError):
            await call.dependencies.history.delete_session(call.workspace, place.session_id, call.principal.key_id)
