"""Claims and attempts over HTTP, as the workers call them."""

from typing import Final

from aiohttp import web
from pydantic import BaseModel, Field

from services.history.api.bodies import read_schema
from services.history.api.nouns import nouns
from services.history.api.paths import TURN, path_id, workspace_of
from shared.contracts.turns import ClaimTurn, ModelUse, StartAttempt
from shared.web.bodies import json_response


class Spend(BaseModel):
    attempt: int
    uses: tuple[ModelUse, ...] = ()


class StartCall(Spend):
    call_key: str = Field(alias="callKey", min_length=1, max_length=500)


async def post_claim(request: web.Request) -> web.Response:
    claim = await read_schema(request, ClaimTurn)
    claimed = await nouns(request).claims.claim(workspace_of(request), path_id(request, "turn_id"), claim)
    return json_response(claimed)


async def post_attempt(request: web.Request) -> web.Response:
    start = await read_schema(request, StartAttempt)
    started = await nouns(request).attempts.start(workspace_of(request), path_id(request, "turn_id"), start)
    return json_response(started.wire())


async def post_release(request: web.Request) -> web.Response:
    spent = await read_schema(request, Spend)
    turn_id = path_id(request, "turn_id")
    await nouns(request).attempts.release(workspace_of(request), turn_id, spent.attempt, spent.uses)
    return web.Response(status=204)


async def post_uses(request: web.Request) -> web.Response:
    spent = await read_schema(request, Spend)
    turn_id = path_id(request, "turn_id")
    await nouns(request).attempts.spend(workspace_of(request), turn_id, spent.attempt, spent.uses)
    return web.Response(status=204)


async def post_call(request: web.Request) -> web.Response:
    call = await read_schema(request, StartCall)
    recorded = await nouns(request).attempts.start_call(
        workspace_of(request), path_id(request, "turn_id"), call.attempt, call.call_key, call.uses
    )
    return json_response({"recorded": recorded})


ROUTES: Final = (
    web.post(TURN + "/claim", post_claim),
    web.post(TURN + "/attempts", post_attempt),
    web.post(TURN + "/release", post_release),
    web.post(TURN + "/uses", post_uses),
    web.post(TURN + "/calls", post_call),
)
