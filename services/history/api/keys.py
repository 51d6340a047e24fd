"""API keys over HTTP."""

from typing import Final

from aiohttp import web
from pydantic import BaseModel

from services.history.api.bodies import read_schema
from services.history.api.nouns import nouns
from services.history.api.paths import KEY, path_id, workspace_of
from shared.contracts.keys import StoreKey
from shared.web.bodies import json_response


class Digest(BaseModel):
    digest: str


async def post_key(request: web.Request) -> web.Response:
    key = await read_schema(request, StoreKey)
    await nouns(request).keys.store(key)
    return json_response({"id": key.id}, status=201)


async def post_resolve(request: web.Request) -> web.Response:
    principal = await nouns(request).keys.resolve((await read_schema(request, Digest)).digest)
    return json_response(principal.wire())


async def delete_key(request: web.Request) -> web.Response:
    await nouns(request).keys.revoke(workspace_of(request), path_id(request, "key_id"))
    return web.Response(status=204)


ROUTES: Final = (
    web.post("/keys", post_key),
    web.post("/keys/resolve", post_resolve),
    web.delete(KEY, delete_key),
)
