"""Keys over the public API, before a real history."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from deploy.local.stores import Server
from services.gateway.app import create_app, open_dependencies
from services.gateway.edge.key_cache import KeyCache
from services.gateway.edge.server import PublicRunner
from services.history.keys.documents import principal_of
from shared.contracts.keys import Scope, digest_of
from tests.conftest import emptied_redis, eventually
from tests.service.gateway.edge.workspace_scene import OWN, Scene, gateway_settings, scene
from tests.service.gateway.served import running as served

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(mongodb_uri: str, redis_server: Server) -> AsyncIterator[Scene]:
    """One for all: each test makes keys of its own, and the last one deletes the workspace."""
    async with scene(mongodb_uri, await emptied_redis(redis_server)) as prepared:
        yield prepared


async def call(
    stage: Scene, method: str, path: str, body: Any = None, key: str | None = None
) -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {key or stage.own.all_scopes.secret}"}
    async with stage.client.request(method, stage.base + path, json=body, headers=headers) as response:
        return response.status, await response.json()


async def made(stage: Scene, **members: Any) -> dict[str, Any]:
    status, body = await call(stage, "POST", "/keys", {"scopes": ["chat:read"], **members})
    assert status == 201, body
    data: dict[str, Any] = body["data"]
    return data


def pages(stage: Scene) -> str:
    return f"/agents/{stage.own.ids['agentId']}/publishable-keys"


async def test_a_new_key_is_shown_once_and_works(stage: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    key = await made(stage, label="Shop", environment="test", expiresAt=soon)
    assert key["secret"].startswith("parley_sk_test_")
    assert (key["label"], key["scopes"], key["createdBy"]) == ("Shop", ["chat:read"], stage.own.all_scopes.id)
    assert (await call(stage, "GET", "/chat/sessions", key=key["secret"]))[0] == 200
    assert (await call(stage, "GET", "/keys", key=key["secret"]))[0] == 403
    _, listed = await call(stage, "GET", "/keys")
    (row,) = [row for row in listed["data"] if row["id"] == key["id"]]
    assert row["lastUsedAt"] is not None
    told = f"{listed}{await stage.history.documents['keys'].find({}).to_list(None)}{capsys.readouterr()}"
    assert key["secret"] not in told
    assert digest_of(key["secret"]) not in str(listed)


async def test_a_key_gives_only_the_scopes_that_it_holds(stage: Scene) -> None:
    maker = await stage.key_with(frozenset({Scope.KEYS_WRITE, Scope.CHAT_READ}))
    before = await stage.history.documents["keys"].count_documents({})
    status, body = await call(stage, "POST", "/keys", {"scopes": ["chat:read", "agents:write"]}, maker)
    assert (status, body["code"], body["requiredScope"]) == (403, "insufficient_scope", "agents:write")
    assert await stage.history.documents["keys"].count_documents({}) == before
    assert (await call(stage, "POST", "/keys", {"scopes": ["chat:read", "keys:write"]}, maker))[0] == 201


async def test_a_key_cannot_rotate_one_that_holds_more_to_get_its_secret(stage: Scene) -> None:
    maker = await stage.key_with(frozenset({Scope.KEYS_WRITE}))
    stronger = stage.own.all_scopes
    status, body = await call(stage, "POST", f"/keys/{stronger.id}/rotate", {}, maker)
    assert (status, body["code"]) == (403, "insufficient_scope")
    assert (await call(stage, "GET", "/keys", key=stronger.secret))[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"scopes": []},
        {"scopes": ["teleport:write"]},
        {"scopes": ["chat:public"]},
        {"scopes": "chat:read"},
        {"scopes": [1]},
        {"scopes": ["chat:read"], "label": "x" * 201},
        {"scopes": ["chat:read"], "label": None},
        {"scopes": ["chat:read"], "environment": "staging"},
        {"scopes": ["chat:read"], "expiresAt": "2020-01-01T00:00:00Z"},
        {"scopes": ["chat:read"], "expiresAt": "2099-01-01T00:00:00"},
        {"scopes": ["chat:read"], "expiresAt": "tomorrow"},
        {"scopes": ["chat:read"], "expiresAt": "9999-12-31T23:59:59-14:00"},
        {"scopes": ["chat:read"], "workspace": "rival"},
        {"scopes": ["chat:read"], "weight": 0},
        {"scopes": ["chat:read"], "weight": 101},
    ],
)
async def test_a_malformed_key_is_refused_and_not_stored(stage: Scene, body: dict[str, Any]) -> None:
    before = await stage.history.documents["keys"].count_documents({})
    status, answer = await call(stage, "POST", "/keys", body)
    assert (status, answer["code"]) == (422, "validation_failed")
    assert await stage.history.documents["keys"].count_documents({}) == before


async def test_a_rotated_key_has_a_grace_of_bounded_length(stage: Scene) -> None:
    key = await made(stage)
    for grace in (-1, 1.5, "60", 31 * 86_400):
        assert (await call(stage, "POST", f"/keys/{key['id']}/rotate", {"graceS": grace}))[0] == 422
    status, body = await call(stage, "POST", f"/keys/{key['id']}/rotate", {"graceS": 60})
    assert status == 200
    assert body["data"]["oldSecretUntil"] is not None
    for secret in (key["secret"], body["data"]["secret"]):
        assert (await call(stage, "GET", "/chat/sessions", key=secret))[0] == 200


@pytest.mark.parametrize(
    "origin",
    [
        "https://shop.example/path",
        "https://shop.example/",
        "https://shop.example?x",
        "https://user@shop.example",
        "https://*.example",
        "*",
        "null",
        "shop.example",
        "ftp://shop.example",
        "https://shop.example:0",
        "https://shop.example:65536",
        "https://shop example",
        "http://localhost:*",
        "",
    ],
)
async def test_an_origin_that_no_browser_sends_is_refused(stage: Scene, origin: str) -> None:
    status, body = await call(stage, "POST", pages(stage), {"allowedOrigins": ["https://a.example", origin]})
    assert (status, body["code"]) == (422, "validation_failed")
    assert body["errors"][0]["field"] == "allowedOrigins"


async def test_a_keys_weight_is_set_where_it_is_made(stage: Scene) -> None:
    key = await made(stage, weight=3)
    assert key["weight"] == 3
    row = await stage.history.documents["keys"].find_one({"_id": key["id"]})
    assert row is not None
    assert principal_of(row).weight == 3
    status, body = await call(stage, "POST", pages(stage), {"allowedOrigins": ["https://a.example"]})
    assert (status, body["data"]["weight"]) == (201, 1)
    path = f"{pages(stage)}/{body['data']['id']}"
    status, body = await call(stage, "PATCH", path, {"weight": 5})
    assert (status, body["data"]["weight"]) == (200, 5)
    assert (await call(stage, "PATCH", path, {"weight": None}))[0] == 422


async def test_a_key_is_changed_in_what_is_named_and_nothing_else(stage: Scene) -> None:
    key = await made(stage, label="Shop", weight=2, rateLimitRpm=60, expiresAt="2099-01-01T00:00:00Z")
    path = f"/keys/{key['id']}"
    status, body = await call(stage, "PATCH", path, {"label": "Till", "maxConcurrentTurns": 4, "retryGuard": True})
    assert status == 200
    changed = {"label": "Till", "maxConcurrentTurns": 4, "retryGuard": True}
    assert body["data"] == {name: value for name, value in key.items() if name != "secret"} | changed
    status, body = await call(stage, "PATCH", path, {"rateLimitRpm": None, "expiresAt": None, "weight": 5})
    assert (status, body["data"]["rateLimitRpm"], body["data"]["expiresAt"]) == (200, None, None)
    assert (body["data"]["weight"], body["data"]["label"]) == (5, "Till")
    assert (await call(stage, "GET", "/chat/sessions", key=key["secret"]))[0] == 200
    _, audit = await call(stage, "GET", "/audit?limit=2")
    told = [(row["action"], row["target"], row["actor"]) for row in audit["data"]]
    assert told == [("key.changed", key["id"], stage.own.all_scopes.id)] * 2


@pytest.mark.parametrize(
    "body",
    [
        {"scopes": ["chat:write"]},
        {"label": None},
        {"weight": 0},
        {"weight": None},
        {"rateLimitRpm": 0},
        {"expiresAt": "2020-01-01T00:00:00Z"},
        {"expiresAt": "9999-12-31T23:59:59.999999-23:59"},
        {"allowedOrigins": ["https://a.example"]},
        {"environment": "test"},
        {"retryGuard": None},
    ],
)
async def test_a_malformed_change_of_a_key_changes_nothing(stage: Scene, body: dict[str, Any]) -> None:
    before = await stage.history.documents["keys"].find_one({"_id": stage.own.ids["secretKeyId"]})
    status, answer = await call(stage, "PATCH", f"/keys/{stage.own.ids['secretKeyId']}", body)
    after = await stage.history.documents["keys"].find_one({"_id": stage.own.ids["secretKeyId"]})
    assert (status, answer["code"]) == (422, "validation_failed")
    assert before is not None
    assert after is not None
    assert {**before, "lastUsedAt": 0} == {**after, "lastUsedAt": 0}


async def test_a_key_cannot_change_one_that_holds_more(stage: Scene) -> None:
    maker = await stage.key_with(frozenset({Scope.KEYS_WRITE}))
    status, body = await call(stage, "PATCH", f"/keys/{stage.own.ids['secretKeyId']}", {"expiresAt": None}, maker)
    assert (status, body["code"]) == (403, "insufficient_scope")
    assert "change a key" in body["detail"]


async def test_a_key_is_not_changed_by_the_route_of_the_other_kind(stage: Scene) -> None:
    secret, publishable = stage.own.ids["secretKeyId"], stage.own.ids["keyId"]
    assert (await call(stage, "PATCH", f"/keys/{publishable}", {"label": "x"}))[0] == 404
    assert (await call(stage, "PATCH", f"{pages(stage)}/{secret}", {"label": "x"}))[0] == 404
    key = await made(stage)
    await call(stage, "DELETE", f"/keys/{key['id']}")
    assert (await call(stage, "PATCH", f"/keys/{key['id']}", {"label": "x"}))[0] == 404


async def test_a_changed_limit_holds_for_the_next_requests(stage: Scene) -> None:
    key = await made(stage)
    headers = {"Authorization": f"Bearer {key['secret']}"}
    await call(stage, "PATCH", f"/keys/{key['id']}", {"rateLimitRpm": 7})

    async def is_told() -> bool:
        async with stage.client.get(f"{stage.base}/chat/sessions", headers=headers) as response:
            return response.headers["RateLimit-Limit"] == "7"

    await eventually(is_told, what="the new limit")


async def test_a_publishable_key_is_made_changed_and_revoked(stage: Scene) -> None:
    origins = ["https://Shop.example:443", "http://localhost:*"]
    order = {"allowedOrigins": origins, "environment": "test", "rateLimitRpm": 60, "dailyTokens": 5000}
    status, body = await call(stage, "POST", pages(stage), order)
    key = body["data"]
    assert status == 201
    assert key["secret"].startswith("parley_pk_test_")
    assert key["allowedOrigins"] == ["https://shop.example", "http://localhost:*"]
    path = f"{pages(stage)}/{key['id']}"
    status, body = await call(stage, "PATCH", path, {"rateLimitRpm": None, "allowedOrigins": ["https://b.example"]})
    assert status == 200
    assert (body["data"]["rateLimitRpm"], body["data"]["dailyTokens"]) == (None, 5000)
    assert body["data"]["allowedOrigins"] == ["https://b.example"]
    assert (await call(stage, "PATCH", path, {"allowedOrigins": ["https://b.example/x"]}))[0] == 422
    assert (await call(stage, "PATCH", path, {"allowedOrigins": []}))[0] == 422
    assert (await call(stage, "PATCH", path, {"scopes": ["chat:write"]}))[0] == 422
    status, body = await call(stage, "POST", f"{path}/rotate", {"graceS": 60})
    assert (status, body["data"]["secret"].startswith("parley_pk_test_")) == (200, True)
    assert (await call(stage, "DELETE", path))[0] == 200
    assert (await call(stage, "DELETE", path))[0] == 200
    _, listed = await call(stage, "GET", pages(stage))
    assert key["id"] not in [row["id"] for row in listed["data"]]


async def test_local_pages_are_for_test_keys_only(stage: Scene) -> None:
    _, body = await call(stage, "POST", pages(stage), {"allowedOrigins": ["https://a.example"]})
    path = f"{pages(stage)}/{body['data']['id']}"
    assert (await call(stage, "PATCH", path, {"allowedOrigins": ["http://localhost:*"]}))[0] == 422


async def test_the_audit_tells_who_did_what_to_which_key(stage: Scene) -> None:
    key = await made(stage)
    await call(stage, "POST", f"/keys/{key['id']}/rotate", {"graceS": 5})
    await call(stage, "DELETE", f"/keys/{key['id']}")
    status, body = await call(stage, "GET", "/audit?limit=3")
    assert status == 200
    rows = [(row["action"], row["target"], row["actor"]) for row in body["data"]]
    assert rows == [(f"key.{what}", key["id"], stage.own.all_scopes.id) for what in ("revoked", "rotated", "created")]
    assert key["secret"] not in str(body)


async def test_a_revocation_reaches_every_gateway_by_its_notice(stage: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caches trust a record for ten minutes here, so only the notice can end that."""
    monkeypatch.setattr("services.gateway.app.KeyCache", _patient)
    key = await made(stage)
    redis_url = stage.history.dependencies.settings.queue_redis_url
    async with (
        open_dependencies(gateway_settings(stage.history, redis_url)) as first,
        open_dependencies(gateway_settings(stage.history, redis_url)) as second,
        served(PublicRunner(create_app(first, private=True))) as one,
        served(PublicRunner(create_app(second, private=True))) as two,
    ):
        for dependencies in (first, second):
            await eventually(_connected(dependencies.hub), what="the subscriptions")
        bases = [f"http://{host}:{port}/api/v1/chat/sessions" for host, port in (one, two)]
        headers = {"Authorization": f"Bearer {key['secret']}"}

        async def statuses(client: aiohttp.ClientSession) -> list[int]:
            found = []
            for base in bases:
                async with client.get(base, headers=headers) as response:
                    found.append(response.status)
            return found

        async with aiohttp.ClientSession() as client:
            assert await statuses(client) == [200, 200]
            await call(stage, "DELETE", f"/keys/{key['id']}")

            async def refused() -> bool:
                return await statuses(client) == [401, 401]

            await eventually(refused, within_s=1.0, what="the refusal by both gateways")
            assert (await call(stage, "GET", "/keys"))[0] == 200


def _patient(resolve: Any, *, ttl_s: float) -> Any:
    return KeyCache(resolve, ttl_s=600.0)


def _connected(hub: Any) -> Any:
    async def connected() -> bool:
        return all(shard.connected.is_set() for shard in hub._shards)

    return connected


async def test_a_workspaces_deletion_ends_its_keys_on_the_gateway(stage: Scene) -> None:
    key = await made(stage)
    assert (await call(stage, "GET", "/chat/sessions", key=key["secret"]))[0] == 200
    await stage.history.client.delete_workspace(OWN)

    async def refused() -> bool:
        return (await call(stage, "GET", "/chat/sessions", key=key["secret"]))[0] == 401

    await eventually(refused, within_s=1.0, what="the refusal")
