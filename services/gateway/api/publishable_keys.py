"""Publishable keys of an agent, for pages in browsers: create, list, change, rotate, revoke."""

from typing import Any, Final

from aiohttp import web

from services.gateway.api.agents import agent_id
from services.gateway.api.key_bodies import (
    ChangePublishableKey,
    CreatePublishableKey,
    NewPublishableKey,
    RotateSecret,
    checked_origins,
    shown,
)
from services.gateway.api.keys import key_id
from services.gateway.api.schemas import DELETED
from services.gateway.call import Call, Route
from services.gateway.edge.params import CURSOR, LIMIT, OWN_BODY
from services.gateway.edge.replies import data_response, page_response
from services.gateway.edge.route import Reply
from services.gateway.edge.validation import json_body, no_body, page_query
from shared.contracts.errors import ApiError, Code
from shared.contracts.key_records import ChangeKey, PublishableKeyRecord, RotateKey
from shared.contracts.keys import NewKey, Publishable, Scope, digest_of, new_secret


async def create(call: Call) -> web.StreamResponse:
    agent = agent_id(call)
    body = await json_body(call.request, CreatePublishableKey)
    key = NewKey(
        workspace=call.workspace,
        name=body.label,
        scopes=frozenset({Scope.CHAT_PUBLIC}),
        environment=body.environment,
        expires_at=body.expires_at,
        weight=body.weight,
        max_concurrent_turns=body.max_concurrent_turns,
        created_by=call.principal.key_id,
    )
    own = Publishable(
        agent_id=agent,
        allowed_origins=tuple(body.allowed_origins),
        rate_limit_rpm=body.rate_limit_rpm,
        daily_tokens=body.daily_tokens,
    )
    history = call.dependencies.history
    created = await history.create_key(key, own)
    record = await history.publishable_key(call.workspace, agent, created.id)
    location = f"{call.request.path}/{created.id}"
    return data_response(shown(record, created.secret), status=201, headers={"Location": location})


async def list_all(call: Call) -> web.StreamResponse:
    agent = agent_id(call)
    page = await call.dependencies.history.publishable_keys(call.workspace, agent, page_query(call.request.query))
    items = [shown(PublishableKeyRecord.model_validate(item)) for item in page["items"]]
    return page_response({**page, "items": items})


async def patch(call: Call) -> web.StreamResponse:
    agent, wanted = agent_id(call), key_id(call)
    body = await json_body(call.request, ChangePublishableKey)
    history = call.dependencies.history
    key = await history.publishable_key(call.workspace, agent, wanted)
    changed: dict[str, Any] = {name: getattr(body, name) for name in body.model_fields_set}
    if "allowed_origins" in changed:
        changed["allowed_origins"] = tuple(_origins(body.allowed_origins, test=key.environment == "test"))
    change = ChangeKey(agent_id=agent, actor=call.principal.key_id, **changed)
    return data_response(shown(await history.change_key(call.workspace, wanted, change)))


def _origins(origins: list[str], *, test: bool) -> list[str]:
    """Checked here, because only now the key's environment is known."""
    try:
        return checked_origins(origins, test=test)
    except ValueError as error:
        raise ApiError(Code.VALIDATION_FAILED, errors=[{"field": "allowedOrigins", "message": str(error)}]) from None


async def rotate(call: Call) -> web.StreamResponse:
    agent, wanted = agent_id(call), key_id(call)
    body = await json_body(call.request, RotateSecret)
    history = call.dependencies.history
    key = await history.publishable_key(call.workspace, agent, wanted)
    secret = new_secret(key.environment, "pk")
    order = RotateKey(digest=digest_of(secret), grace_s=body.grace_s, agent_id=agent, actor=call.principal.key_id)
    return data_response(shown(await history.rotate_key(call.workspace, wanted, order), secret))


async def delete(call: Call) -> web.StreamResponse:
    agent, wanted = agent_id(call), key_id(call)
    await no_body(call.request)
    await call.dependencies.history.revoke_key(call.workspace, wanted, agent_id=agent, actor=call.principal.key_id)
    return data_response({"id": wanted, "deleted": True})


_KEYS: Final = "/agents/{agentId}/publishable-keys"
_KEY: Final = _KEYS + "/{keyId}"
_ABSENT: Final = (Code.AGENT_NOT_FOUND, Code.NOT_FOUND)
ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="POST",
        path=_KEYS,
        serve=create,
        scope=Scope.KEYS_WRITE,
        summary="Create a publishable key for the pages of these origins; it is shown this once",
        request=CreatePublishableKey,
        replies={201: (Reply("the key with its text", NewPublishableKey, gives={_KEY: "id"}),)},
        errors=(*OWN_BODY, Code.AGENT_NOT_FOUND),
    ),
    Route(
        method="GET",
        path=_KEYS,
        serve=list_all,
        scope=Scope.KEYS_WRITE,
        summary="List an agent's publishable keys, newest first, without those that were revoked",
        params=(LIMIT, CURSOR),
        replies={200: (Reply("a page of keys", PublishableKeyRecord, paged=True),)},
        errors=(Code.AGENT_NOT_FOUND,),
    ),
    Route(
        method="PATCH",
        path=_KEY,
        serve=patch,
        scope=Scope.KEYS_WRITE,
        summary="Change a publishable key's label, origins, expiry or limits",
        request=ChangePublishableKey,
        replies={200: (Reply("the key", PublishableKeyRecord),)},
        errors=(*OWN_BODY, *_ABSENT),
    ),
    Route(
        method="POST",
        path=_KEY + "/rotate",
        serve=rotate,
        scope=Scope.KEYS_WRITE,
        summary="Replace a publishable key's text; the old one works on for the grace, unless the key is rotated again",
        request=RotateSecret,
        replies={200: (Reply("the key with its new text", NewPublishableKey),)},
        errors=(*OWN_BODY, *_ABSENT),
    ),
    Route(
        method="DELETE",
        path=_KEY,
        serve=delete,
        scope=Scope.KEYS_WRITE,
        summary="Revoke a publishable key, on every gateway within a second",
        replies={200: (Reply("it is gone", DELETED),)},
        errors=(*OWN_BODY, *_ABSENT),
    ),
)
