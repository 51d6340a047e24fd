"""Turns over HTTP, as the gateway calls them: admission, reads and cancellation."""

from typing import Final

from aiohttp import web
from pydantic import BaseModel, Field

from services.history.api.bodies import read_schema
from services.history.api.nouns import nouns
from services.history.api.paths import TURN, WORKSPACE, path_id, workspace_of
from shared.contracts.errors import ApiError, Code
from shared.contracts.turns import AdmitTurn
from shared.web.bodies import json_response

MAX_STATES: Final = 5000


class TurnName(BaseModel):
    workspace: str
    turn_id: str = Field(alias="turnId")


class TurnNames(BaseModel):
    turns: tuple[TurnName, ...] = Field(max_length=MAX_STATES)


async def post_turn(request: web.Request) -> web.Response:
    order = await read_schema(request, AdmitTurn)
    if not order.messages or (order.session_id is None) == (order.agent_id is None):
        raise ApiError(Code.VALIDATION_FAILED, "A turn has messages, and either a session or an agent.")
    if (order.parent or order.instead_of) and (order.session_id is None or (order.parent and order.instead_of)):
        raise ApiError(Code.VALIDATION_FAILED, "Only a turn of a session has a parent, or takes another turn's place.")
    admitted = await nouns(request).admission.admit(workspace_of(request), order)
    return web.Response(body=admitted, status=201, content_type="application/json")


async def get_turn(request: web.Request) -> web.Response:
    text = request.query.get("text") != "false"
    stored = await nouns(request).turns.read(workspace_of(request), path_id(request, "turn_id"), text=text)
    return json_response(stored.wire())


async def post_cancel(request: web.Request) -> web.Response:
    turn = await nouns(request).turns.cancel(workspace_of(request), path_id(request, "turn_id"))
    return json_response(turn.wire())


async def delete_turn(request: web.Request) -> web.Response:
    await nouns(request).responses.erase(workspace_of(request), path_id(request, "turn_id"), request.query.get("actor"))
    return web.Response(status=204)


async def post_states(request: web.Request) -> web.Response:
    names = (await read_schema(request, TurnNames)).turns
    states = await nouns(request).turns.states([(name.workspace, name.turn_id) for name in names])
    return json_response([state.wire() if state is not None else None for state in states])


ROUTES: Final = (
    web.post(WORKSPACE + "/turns", post_turn),
    web.get(TURN, get_turn),
    web.delete(TURN, delete_turn),
    web.post(TURN + "/cancel", post_cancel),
    web.post("/turns/states", post_states),
)
