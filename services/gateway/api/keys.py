"""Secret keys of a workspace: create, list, change, rotate, revoke."""

from collections.abc import Iterable
from typing import Final

from aiohttp import web

from services.gateway.api.key_bodies import ChangeSecretKey, CreateKey, NewSecretKey, RotateSecret, shown
from services.gateway.api.schemas import DELETED
from services.gateway.call import Call, Route
from services.gateway.edge.params import CURSOR, LIMIT, OWN_BODY
from services.gateway.edge.replies import data_response, page_response
from services.gateway.edge.route import Reply
from services.gateway.edge.validation import json_body, no_body, page_query
from shared.contracts.errors import ApiError, Code
from shared.contracts.key_records import ChangeKey, KeyRecord, RotateKey
from shared.contracts.keys import NewKey, Scope, digest_of, new_secret


async def create(call: Call) -> web.StreamResponse:
    body = await json_body(call.request, CreateKey)
    require_held(call, body.scopes)
    key = NewKey(
        workspace=call.workspace,
        name=body.label,
        scopes=frozenset(body.scopes),
        environment=body.environment,
        expires_at=body.expires_at,
        retry_guard=body.retry_guard,
        weight=body.weight,
        rate_limit_rpm=body.rate_limit_rpm,
        max_concurrent_turns=body.max_concurrent_turns,
        created_by=call.principal.key_id,
    )
    created = await call.dependencies.history.create_key(key)
    record = await call.dependencies.history.secret_key(call.workspace, created.id)
    location = f"{call.request.path}/{created.id}"
    return data_response(shown(record, created.secret), status=201, headers={"Location": location})


def require_held(call: Call, scopes: Iterable[Scope], to_do: str = "give it to another key") -> None:
    """A key can pass on only what it holds itself: whoever gets the secret of a key gets its scopes."""
    for scope in scopes:
        if scope not in call.principal.scopes:
            detail = f"Only a key with the scope {scope} can {to_do}."
            raise ApiError(Code.INSUFFICIENT_SCOPE, detail, members={"requiredScope": str(scope)})


async def list_all(call: Call) -> web.StreamResponse:
    page = await call.dependencies.history.keys(call.workspace, page_query(call.request.query))
    return page_response({**page, "items": [shown(KeyRecord.model_validate(item)) for item in page["items"]]})


async def patch(call: Call) -> web.StreamResponse:
    wanted = key_id(call)
    body = await json_body(call.request, ChangeSecretKey)
    history = call.dependencies.history
    # As for a rotation: a key has no power over one that holds more than itself, and cannot end its expiry.
    require_held(call, (await history.secret_key(call.workspace, wanted)).scopes, "change a key that holds it")
    changed = {name: getattr(body, name) for name in body.model_fields_set}
    change = ChangeKey(actor=call.principal.key_id, **changed)
    return data_response(shown(await history.change_key(call.workspace, wanted, change)))


async def rotate(call: Call) -> web.StreamResponse:
    wanted = key_id(call)
    body = await json_body(call.request, RotateSecret)
    history = call.dependencies.history
    key = await history.secret_key(call.workspace, wanted)
    require_held(call, key.scopes)
    secret = new_secret(key.environment)
    order = RotateKey(digest=digest_of(secret), grace_s=body.grace_s, actor=call.principal.key_id)
    return data_response(shown(await history.rotate_key(call.workspace, wanted, order), secret))


async def delete(call: Call) -> web.StreamResponse:
    wanted = key_id(call)
    await no_body(call.request)
    await call.dependencies.history.revoke_key(call.workspace, wanted, actor=call.principal.key_id)
    return data_response({"id": wanted, "deleted": True})


def key_id(call: Call) -> str:
    return call.path_id("keyId", "key", Code.NOT_FOUND)


ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="POST",
        path="/keys",
        serve=create,
        scope=Scope.KEYS_WRITE,
        summary="Create a secret key; its secret is shown this once",
        request=CreateKey,
        replies={201: (Reply("the key with its secret", NewSecretKey, gives={"/keys/{keyId}": "id"}),)},
        errors=OWN_BODY,
    ),
    Route(
        method="GET",
        path="/keys",
        serve=list_all,
        scope=Scope.KEYS_WRITE,
        summary="List secret keys, newest first, without those that were revoked",
        params=(LIMIT, CURSOR),
        replies={200: (Reply("a page of keys", KeyRecord, paged=True),)},
    ),
    Route(
        method="PATCH",
        path="/keys/{keyId}",
        serve=patch,
        scope=Scope.KEYS_WRITE,
        summary="Change a key's label, expiry, weight or limits; its scopes cannot be changed",
        request=ChangeSecretKey,
        replies={200: (Reply("the key", KeyRecord),)},
        errors=(*OWN_BODY, Code.NOT_FOUND),
    ),
    Route(
        method="POST",
        path="/keys/{keyId}/rotate",
        serve=rotate,
        scope=Scope.KEYS_WRITE,
        summary="Replace a key's secret; the old one works on for the grace, unless the key is rotated again",
        request=RotateSecret,
        replies={200: (Reply("the key with its new secret", NewSecretKey),)},
        errors=(*OWN_BODY, Code.NOT_FOUND),
    ),
    Route(
        method="DELETE",
        path="/keys/{keyId}",
        serve=delete,
        scope=Scope.KEYS_WRITE,
        summary="Revoke a key, on every gateway within a second",
        replies={200: (Reply("it is gone", DELETED),)},
        errors=(*OWN_BODY, Code.NOT_FOUND),
    ),
)
