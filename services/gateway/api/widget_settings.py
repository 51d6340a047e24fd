"""How an agent's widget looks, the snippet that embeds it, and the secrets that identify its visitors."""

import html
import secrets
from typing import Any, Final

from aiohttp import web

from services.gateway.api.agents import agent_id
from services.gateway.api.schemas import DELETED
from services.gateway.call import Call, Route
from services.gateway.edge.json_schema import Named
from services.gateway.edge.params import OWN_BODY
from services.gateway.edge.replies import data_response
from services.gateway.edge.route import Reply
from services.gateway.edge.validation import json_body, no_body
from services.gateway.widget.assets import assets
from shared.contracts.errors import Code
from shared.contracts.keys import Scope
from shared.contracts.schema import Schema
from shared.contracts.widget import IdentitySecret, NewIdentitySecret, WidgetRecord, WidgetSettings
from shared.ids import new_id

_PLACEHOLDER: Final = "parley_pk_…"


class Embed(Schema):
    """`snippet` follows the loader's newest release; `pinnedSnippet` holds one release and its integrity hash."""

    snippet: str
    pinned_snippet: str
    loader_url: str
    pinned_url: str
    integrity: str


class NewIdentitySecretShown(IdentitySecret):
    """A secret that is shown this once."""

    secret: str


def _shown(record: WidgetRecord) -> dict[str, Any]:
    return {
        "agentId": record.agent_id,
        **record.settings,
        "identitySecrets": [each.model_dump(mode="json", by_alias=True) for each in record.identity_secrets],
    }


async def get(call: Call) -> web.StreamResponse:
    return data_response(_shown(await call.dependencies.history.widget(call.workspace, agent_id(call))))


async def put(call: Call) -> web.StreamResponse:
    agent = agent_id(call)
    settings = await json_body(call.request, WidgetSettings)
    record = await call.dependencies.history.put_widget(call.workspace, agent, settings, call.principal.key_id)
    return data_response(_shown(record))


async def embed(call: Call) -> web.StreamResponse:
    agent = agent_id(call)
    await call.dependencies.history.widget(call.workspace, agent)
    base = call.dependencies.settings.public_url or f"{call.request.scheme}://{call.request.host}"
    loader = assets()["loader.js"]
    urls = f"{base}/widget/loader.js", f"{base}/widget/{loader.file}"
    attribute = f'data-parley-key="{html.escape(_PLACEHOLDER)}"'
    found = Embed(
        snippet=f'<script async src="{html.escape(urls[0])}" {attribute}></script>',
        pinned_snippet=(
            f'<script async src="{html.escape(urls[1])}" integrity="{loader.integrity}" crossorigin="anonymous" '
            f"{attribute}></script>"
        ),
        loader_url=urls[0],
        pinned_url=urls[1],
        integrity=loader.integrity,
    )
    return data_response(found.wire())


async def create_secret(call: Call) -> web.StreamResponse:
    agent = agent_id(call)
    await no_body(call.request)
    new = NewIdentitySecret(id=new_id("ids"), secret=secrets.token_urlsafe(32), actor=call.principal.key_id)
    record = await call.dependencies.history.add_identity_secret(call.workspace, agent, new)
    stored = next(each for each in record.identity_secrets if each.id == new.id)
    shown = NewIdentitySecretShown(**stored.model_dump(), secret=new.secret)
    return data_response(shown.model_dump(mode="json", by_alias=True), status=201)


async def delete_secret(call: Call) -> web.StreamResponse:
    agent = agent_id(call)
    wanted = call.path_id("secretId", "ids", Code.NOT_FOUND)
    await no_body(call.request)
    await call.dependencies.history.remove_identity_secret(call.workspace, agent, wanted, call.principal.key_id)
    return data_response({"id": wanted, "deleted": True})


_SHOWN: Final = Named("ShownWidgetSettings", {"type": "object"})
_WIDGET: Final = "/agents/{agentId}/widget"
_SECRETS: Final = _WIDGET + "/identity-secrets"
ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="GET",
        path=_WIDGET,
        serve=get,
        scope=Scope.AGENTS_READ,
        summary="How the agent's widget looks and what it says",
        replies={200: (Reply("the settings, with `agentId` and `identitySecrets`", _SHOWN),)},
        errors=(Code.AGENT_NOT_FOUND,),
    ),
    Route(
        method="PUT",
        path=_WIDGET,
        serve=put,
        scope=Scope.AGENTS_WRITE,
        summary="Replace the settings of the agent's widget; pages see them within a minute",
        request=WidgetSettings,
        replies={200: (Reply("the settings", _SHOWN),)},
        errors=(*OWN_BODY, Code.AGENT_NOT_FOUND),
    ),
    Route(
        method="GET",
        path=_WIDGET + "/embed",
        serve=embed,
        scope=Scope.AGENTS_READ,
        summary="The line of HTML that puts the widget on a page",
        replies={200: (Reply("the snippets", Embed),)},
        errors=(Code.AGENT_NOT_FOUND,),
    ),
    Route(
        method="POST",
        path=_SECRETS,
        serve=create_secret,
        scope=Scope.KEYS_WRITE,
        summary="Create a secret with which your backend signs its visitors' identities; it is shown this once",
        body_optional=True,
        replies={201: (Reply("the secret", NewIdentitySecretShown, gives={_SECRETS + "/{secretId}": "id"}),)},
        errors=(*OWN_BODY, Code.AGENT_NOT_FOUND),
    ),
    Route(
        method="DELETE",
        path=_SECRETS + "/{secretId}",
        serve=delete_secret,
        scope=Scope.KEYS_WRITE,
        summary="Delete an identity secret: JWTs that were signed with it are refused from now on",
        replies={200: (Reply("it is gone", DELETED),)},
        errors=(*OWN_BODY, Code.AGENT_NOT_FOUND, Code.NOT_FOUND),
    ),
)
