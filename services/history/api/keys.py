"""API keys over HTTP: those of a workspace's servers, and with an agent those of its pages."""

from typing import Final

from aiohttp import web
from pydantic import BaseModel, Field

from services.history.api.bodies import read_schema
from services.history.api.nouns import nouns
from services.history.api.paging import bad_cursor, cursor_of, cursor_values, limit_of, page_of
from services.history.api.paths import AGENT, KEY, WORKSPACE, path_id, workspace_of
from services.history.keys.documents import publishable_key_of, secret_key_of
from shared.contracts.key_records import ChangeKey, RotateKey
from shared.contracts.keys import StoreKey
from shared.ids import is_id
from shared.web.bodies import json_response


class Digest(BaseModel):
    digest: str


class KeyName(BaseModel):
    key_id: str = Field(alias="keyId")


async def post_key(request: web.Request) -> web.Response:
    key = await read_schema(request, StoreKey)
    await nouns(request).keys.store(key)
    return json_response({"id": key.id}, status=201)


async def post_resolve(request: web.Request) -> web.Response:
    principal = await nouns(request).keys.resolve((await read_schema(request, Digest)).digest)
    return json_response(principal.wire())


async def post_resolve_id(request: web.Request) -> web.Response:
    principal = await nouns(request).keys.principal((await read_schema(request, KeyName)).key_id)
    return json_response(principal.wire())


async def get_keys(request: web.Request) -> web.Response:
    records, following = await nouns(request).key_lists.secret(
        workspace_of(request), _before(request), limit_of(request)
    )
    return json_response(page_of([record.wire() for record in records], cursor_of([following]) if following else None))


async def get_publishable_keys(request: web.Request) -> web.Response:
    records, following = await nouns(request).key_lists.publishable(
        workspace_of(request), path_id(request, "agent_id"), _before(request), limit_of(request)
    )
    return json_response(page_of([record.wire() for record in records], cursor_of([following]) if following else None))


async def get_key(request: web.Request) -> web.Response:
    agent_id = request.query.get("agentId")
    record = await nouns(request).key_lists.one(workspace_of(request), path_id(request, "key_id"), agent_id)
    return json_response(record.wire())


async def post_rotation(request: web.Request) -> web.Response:
    order = await read_schema(request, RotateKey)
    row = await nouns(request).keys.rotate(workspace_of(request), path_id(request, "key_id"), order)
    record = secret_key_of(row) if order.agent_id is None else publishable_key_of(row)
    return json_response(record.wire())


async def patch_key(request: web.Request) -> web.Response:
    change = await read_schema(request, ChangeKey)
    record = await nouns(request).key_lists.change(workspace_of(request), path_id(request, "key_id"), change)
    return json_response(record.wire())


async def delete_key(request: web.Request) -> web.Response:
    query = request.query
    await nouns(request).keys.revoke(
        workspace_of(request), path_id(request, "key_id"), query.get("agentId"), query.get("actor")
    )
    return web.Response(status=204)


def _before(request: web.Request) -> str | None:
    values = cursor_values(request, str)
    if values and not is_id("key", values[0]):
        raise bad_cursor()
    return values[0] if values else None


ROUTES: Final = (
    web.post("/keys", post_key),
    web.post("/keys/resolve", post_resolve),
    web.post("/keys/resolve-id", post_resolve_id),
    web.get(WORKSPACE + "/keys", get_keys),
    web.get(AGENT + "/publishable-keys", get_publishable_keys),
    web.get(KEY, get_key),
    web.post(KEY + "/rotate", post_rotation),
    web.patch(KEY, patch_key),
    web.delete(KEY, delete_key),
)
