"""The widget of an agent over HTTP."""

from typing import Final

from aiohttp import web
from pydantic import BaseModel, Field

from services.history.api.bodies import read_schema
from services.history.api.nouns import nouns
from services.history.api.paths import AGENT, path_id, workspace_of
from shared.contracts.schema import NAME_PATTERN
from shared.contracts.widget import NewIdentitySecret, WidgetSettings
from shared.web.bodies import json_response


class PutWidget(BaseModel):
    settings: WidgetSettings
    actor: str | None = None


class IdentityToken(BaseModel):
    token: str = Field(repr=False)


async def get_widget(request: web.Request) -> web.Response:
    record = await nouns(request).widgets.read(workspace_of(request), path_id(request, "agent_id"))
    return json_response(record.wire())


async def put_widget(request: web.Request) -> web.Response:
    order = await read_schema(request, PutWidget)
    record = await nouns(request).widgets.put(
        workspace_of(request), path_id(request, "agent_id"), order.settings, order.actor
    )
    return json_response(record.wire())


async def post_secret(request: web.Request) -> web.Response:
    new = await read_schema(request, NewIdentitySecret)
    record = await nouns(request).widgets.add_secret(workspace_of(request), path_id(request, "agent_id"), new)
    return json_response(record.wire(), status=201)


async def delete_secret(request: web.Request) -> web.Response:
    await nouns(request).widgets.remove_secret(
        workspace_of(request), path_id(request, "agent_id"), path_id(request, "secret_id"), request.query.get("actor")
    )
    return web.Response(status=204)


async def post_identity(request: web.Request) -> web.Response:
    token = (await read_schema(request, IdentityToken)).token
    identity = await nouns(request).widgets.identity(workspace_of(request), path_id(request, "agent_id"), token)
    return json_response(identity.wire())


_WIDGET: Final = AGENT + "/widget"
ROUTES: Final = (
    web.get(_WIDGET, get_widget),
    web.put(_WIDGET, put_widget),
    web.post(_WIDGET + "/identity-secrets", post_secret),
    web.delete(_WIDGET + rf"/identity-secrets/{{secret_id:{NAME_PATTERN}}}", delete_secret),
    web.post(_WIDGET + "/identity", post_identity),
)
