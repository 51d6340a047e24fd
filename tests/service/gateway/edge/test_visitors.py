"""Pages of other origins: what a publishable key and a visitor token open, and what they do not."""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import orjson
import pytest

from services.gateway import faces
from services.gateway.edge.visitor_tokens import Grant, VisitorTokens
from services.gateway.route_table import ROUTES
from shared.contracts.key_records import ChangeKey
from shared.contracts.keys import Scope
from shared.contracts.widget import NewIdentitySecret, Visitor, WidgetSettings
from shared.ids import new_id
from tests.conftest import eventually
from tests.service.gateway.edge.test_authorisation import BODIES, named
from tests.service.gateway.edge.workspace_scene import OWN, Scene, absent_ids, gateway_before, scene
from tests.service.history.running import TOKEN, order

SHOP = "https://shop.example"
SECRET = "a secret of the shop's backend, long enough"


@pytest.fixture
async def stage(mongodb_uri: str, redis_url: str) -> AsyncIterator[Scene]:
    async with scene(mongodb_uri, redis_url) as prepared:
        yield prepared


async def ask(
    stage: Scene, method: str, path: str, secret: str, body: Any = None, *, origin: str | None = SHOP
) -> tuple[int, dict[str, Any], Mapping[str, str]]:
    headers = {"Authorization": f"Bearer {secret}"} | ({"Origin": origin} if origin is not None else {})
    async with stage.client.request(method, stage.base + path, json=body, headers=headers) as response:
        if response.content_type == "text/event-stream":
            response.close()
            return response.status, {}, response.headers
        raw = re.sub(rb"req_\w{26}", b"req_", await response.read())
        return response.status, orjson.loads(raw) if raw else {}, response.headers


async def visit(stage: Scene, **body: Any) -> dict[str, Any]:
    status, answer, _ = await ask(stage, "POST", "/chat/widget/sessions", stage.own.session_key.secret, body)
    assert status == 201, answer
    data: dict[str, Any] = answer["data"]
    return data


async def test_a_visitor_reads_the_settings_chats_and_ends_the_session(stage: Scene) -> None:
    status, answer, headers = await ask(stage, "GET", "/chat/widget/config", stage.own.session_key.secret)
    assert (status, answer["data"]["agentId"]) == (200, stage.own.ids["agentId"])
    assert headers["Access-Control-Allow-Origin"] == SHOP
    assert "Origin" in headers["Vary"]
    assert "Access-Control-Allow-Credentials" not in headers
    visitor = await visit(stage)
    session, token = visitor["session"]["id"], visitor["visitorToken"]
    assert visitor["session"]["endUser"]["id"] == visitor["visitorId"]
    path = f"/chat/sessions/{session}"
    status, answer, headers = await ask(stage, "GET", path, token)
    assert (status, answer["data"]["id"], headers["Access-Control-Allow-Origin"]) == (200, session, SHOP)
    assert (await ask(stage, "GET", path, token, origin=None))[0] == 200
    status, answer, _ = await ask(stage, "POST", path + "/end", token)
    assert (status, answer["data"]["endedReason"]) == (200, "visitor")


async def test_a_visitor_token_opens_its_own_session_and_nothing_else(stage: Scene) -> None:
    visitor = await visit(stage)
    token, own = visitor["visitorToken"], visitor["session"]["id"]
    tried = 0
    for route in ROUTES:
        if route.scope is None:
            continue
        answers = []
        for ids in (stage.own.ids, stage.foreign.ids, absent_ids()):
            path = re.sub(r"\{(\w+)\}", lambda name, ids=ids: ids.get(name[1], "x"), route.path)  # type: ignore[misc]
            body = None if route.method == "GET" else BODIES.get((route.method, route.path), {})
            status, answer, _ = await ask(stage, route.method, path, token, body)
            answers.append((status, answer.get("code"), answer))
        tried += 1
        if not route.visitor:
            assert {status for status, *_ in answers} == {403}, named(route)
            assert {code for _, code, _ in answers} == {"insufficient_scope"}, named(route)
            assert answers[0] == answers[1] == answers[2], named(route)
        elif "{sessionId}" in route.path:
            assert {(status, code) for status, code, _ in answers} == {(404, "session_not_found")}, named(route)
            assert answers[0] == answers[1] == answers[2], named(route)
        elif route in faces.ROUTES:
            assert {status for status, *_ in answers} == {404}, named(route)
            assert answers[1] == answers[2], named(route)
    assert tried > 60
    assert (await ask(stage, "GET", f"/chat/sessions/{own}/messages", token))[0] == 200


async def test_no_page_of_another_origin_uses_a_key_or_a_token(stage: Scene) -> None:
    visitor = await visit(stage)
    key, path = stage.own.session_key.secret, f"/chat/sessions/{visitor['session']['id']}"
    for origin in ("https://evil.example", "https://shop.example.evil.example", "http://shop.example", "null", None):
        status, answer, _ = await ask(stage, "POST", "/chat/widget/sessions", key, {}, origin=origin)
        assert (status, answer["code"]) == (403, "origin_not_allowed"), origin
        if origin is not None:
            status, answer, headers = await ask(stage, "GET", path, visitor["visitorToken"], origin=origin)
            assert (status, answer["code"]) == (403, "origin_not_allowed"), origin
            assert "Access-Control-Allow-Origin" not in headers
    change = ChangeKey(agent_id=stage.own.ids["agentId"], allowed_origins=("https://other.example",))
    await stage.history.client.change_key(OWN, stage.own.ids["keyId"], change)

    async def refused() -> bool:
        return (await ask(stage, "GET", path, visitor["visitorToken"]))[0] == 403

    await eventually(refused, what="a token whose origin was taken from the key")


async def test_secret_keys_give_no_cors_headers(stage: Scene) -> None:
    session = f"/chat/sessions/{stage.own.ids['sessionId']}"
    for path in (session, "/agents"):
        status, _, headers = await ask(stage, "GET", path, stage.own.all_scopes.secret)
        assert status == 200
        assert not [name for name in headers if name.startswith("Access-Control")]


async def test_preflights_are_answered_for_pages_and_for_nothing_else(stage: Scene) -> None:
    headers = {"Origin": "https://anyone.example", "Access-Control-Request-Method": "POST"}
    for path, status in (("/chat/widget/sessions", 204), (f"/chat/sessions/{new_id('ses')}", 204), ("/agents", 405)):
        async with stage.client.options(stage.base + path, headers=headers) as response:
            assert response.status == status
            echoed = response.headers.get("Access-Control-Allow-Origin")
            assert echoed == ("https://anyone.example" if status == 204 else None)
            assert "Access-Control-Allow-Credentials" not in response.headers


def tokens(**claims: Any) -> str:
    """A token of this gateway's own secret, for a grant that may be wrong."""
    given = {"workspace": OWN, "key_id": "", "agent_id": "", **claims}
    visitor = Visitor(id="vis_1", session_id=given.pop("session_id"), origin=SHOP)
    life_s = given.pop("life_s", 60.0)
    return VisitorTokens([given.pop("secret", TOKEN)], life_s=life_s).issue(Grant(visitor=visitor, **given)).token


async def test_false_and_expired_tokens_are_refused(stage: Scene) -> None:
    ids = stage.own.ids
    good = {"key_id": ids["keyId"], "agent_id": ids["agentId"], "session_id": ids["sessionId"]}
    path = f"/chat/sessions/{ids['sessionId']}"
    assert (await ask(stage, "GET", path, tokens(**good)))[0] == 200
    foreign = stage.foreign.ids
    unsigned = "parley_vt_" + jwt.encode({"ws": OWN, "ses": ids["sessionId"]}, "", "none")
    for wrong, code in (
        (tokens(**good, secret="another secret of another deployment"), "invalid_visitor_token"),
        (tokens(**good, life_s=-5.0), "expired_visitor_token"),
        (tokens(**good | {"agent_id": foreign["agentId"]}), "invalid_visitor_token"),
        (tokens(**good | {"workspace": "rival"}), "invalid_visitor_token"),
        (tokens(**good | {"key_id": foreign["keyId"]}), "invalid_visitor_token"),
        (tokens(**good | {"key_id": new_id("key")}), "invalid_api_key"),
        (tokens(**good | {"key_id": ids["secretKeyId"]}), "invalid_api_key"),
        (unsigned, "invalid_visitor_token"),
        ("parley_vt_", "invalid_visitor_token"),
        ("parley_vt_" + "x" * 5000, "invalid_visitor_token"),
    ):
        status, answer, _ = await ask(stage, "GET", path, wrong)
        assert (status, answer["code"]) == (401, code), wrong[:40]


async def test_a_revoked_key_ends_its_visitors_tokens(stage: Scene) -> None:
    visitor = await visit(stage)
    path = f"/chat/sessions/{visitor['session']['id']}"
    await stage.history.client.revoke_key(OWN, stage.own.ids["keyId"], agent_id=stage.own.ids["agentId"])

    async def refused() -> bool:
        return (await ask(stage, "GET", path, visitor["visitorToken"]))[0] == 401

    await eventually(refused, within_s=3.0, what="a refused token")


async def test_a_visitor_stays_the_same_over_sessions_and_continues_one(stage: Scene) -> None:
    first = await visit(stage)
    again = await visit(stage, visitorToken=first["visitorToken"])
    assert again["visitorId"] == first["visitorId"]
    assert again["session"]["id"] != first["session"]["id"]
    resumed = await visit(stage, visitorToken=first["visitorToken"], resume=True)
    assert resumed["session"]["id"] == first["session"]["id"]
    await ask(stage, "POST", f"/chat/sessions/{first['session']['id']}/end", first["visitorToken"])
    after_end = await visit(stage, visitorToken=first["visitorToken"], resume=True)
    assert after_end["session"]["id"] != first["session"]["id"]
    late = tokens(
        key_id=stage.own.ids["keyId"],
        agent_id=stage.own.ids["agentId"],
        session_id=again["session"]["id"],
        life_s=-3600.0,
    )
    assert (await visit(stage, visitorToken=late, resume=True))["session"]["id"] == again["session"]["id"]
    assert (await visit(stage, visitorToken="parley_vt_nonsense"))["visitorId"] != first["visitorId"]
    status, answer, _ = await ask(stage, "POST", "/chat/widget/token", again["visitorToken"])
    assert (status, answer["data"]["visitorId"]) == (200, again["visitorId"])


def signed(secret: str = SECRET, **claims: Any) -> str:
    soon = datetime.now(UTC) + timedelta(minutes=5)
    return jwt.encode({"sub": "customer 7", "exp": soon, **claims}, secret, "HS256")


async def test_identified_visitors_see_their_earlier_conversations(stage: Scene) -> None:
    agent, client = stage.own.ids["agentId"], stage.history.client
    await client.remove_identity_secret(OWN, agent, stage.own.ids["secretId"])
    await client.add_identity_secret(OWN, agent, NewIdentitySecret(id=new_id("ids"), secret=SECRET))
    await client.put_widget(OWN, agent, WidgetSettings(require_identity_verification=True))
    key = stage.own.session_key.secret
    too_long = datetime.now(UTC) + timedelta(days=2)
    before = datetime.now(UTC) - timedelta(minutes=5)
    for identity in (
        signed("another secret, that nobody has stored"),
        signed(exp=before),
        signed(exp=too_long),
        signed(sub=""),
        jwt.encode({"sub": "x"}, SECRET, "HS256"),
        jwt.encode({"sub": "x", "exp": too_long}, "", "none"),
        "nonsense",
    ):
        status, answer, _ = await ask(stage, "POST", "/chat/widget/sessions", key, {"identity": identity})
        assert (status, answer["code"]) == (401, "invalid_identity"), answer
        assert identity not in orjson.dumps(answer).decode()
    status, answer, _ = await ask(stage, "POST", "/chat/widget/sessions", key, {})
    assert (status, answer["code"]) == (403, "identity_required")

    first = await visit(stage, identity=signed(name="Ada"))
    second = await visit(stage, identity=signed(), visitorToken=first["visitorToken"])
    other = await visit(stage, identity=signed(sub="customer 8"), visitorToken=first["visitorToken"])
    assert first["identified"]
    assert other["visitorId"] != first["visitorId"] == second["visitorId"]
    await client.admit(OWN, order(first["session"]["id"], "Do you deliver? " + "x" * 200))
    status, page, _ = await ask(stage, "GET", "/chat/widget/sessions", second["visitorToken"])
    openings = {item["id"]: item["opening"] for item in page["data"]}
    told = ("Do you deliver? " + "x" * 200)[:120]
    assert openings == {first["session"]["id"]: told, second["session"]["id"]: None}
    path = "/chat/widget/earlier/{}/token"
    status, answer, _ = await ask(stage, "POST", path.format(first["session"]["id"]), second["visitorToken"])
    assert status == 200
    opened = f"/chat/sessions/{first['session']['id']}"
    assert (await ask(stage, "GET", opened, answer["data"]["visitorToken"]))[0] == 200
    absent = [
        (await ask(stage, "POST", path.format(wanted), second["visitorToken"]))[:2]
        for wanted in (
            other["session"]["id"],
            stage.own.ids["sessionId"],
            stage.foreign.ids["sessionId"],
            new_id("ses"),
        )
    ]
    assert all(answer == absent[0] for answer in absent)
    assert absent[0][0] == 404


async def test_the_frames_page_is_for_pages_of_the_keys_origins(stage: Scene) -> None:
    root = stage.base.removesuffix("/api/v1")
    async with stage.client.get(f"{root}/widget/frame/{stage.own.ids['keyId']}") as response:
        policy = response.headers["Content-Security-Policy"]
        page = await response.text()
    assert "default-src 'none'" in policy
    assert policy.endswith(f"frame-ancestors {SHOP}")
    assert "X-Frame-Options" not in response.headers
    bodies = set()
    for wanted in (new_id("key"), stage.own.ids["secretKeyId"], "nonsense"):
        async with stage.client.get(f"{root}/widget/frame/{wanted}") as response:
            assert response.status == 404
            assert response.headers["Content-Security-Policy"].endswith("frame-ancestors 'none'")
            bodies.add(await response.read())
    assert len(bodies) == 1
    for file in re.findall(r"/widget/[\w.]+\.(?:js|css)", page):
        async with stage.client.get(root + file) as response:
            assert response.status == 200
            assert "immutable" in response.headers["Cache-Control"]
    async with stage.client.get(f"{root}/widget/loader.js") as response:
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        tag = response.headers["ETag"]
    async with stage.client.get(f"{root}/widget/loader.js", headers={"If-None-Match": tag}) as response:
        assert response.status == 304


async def test_settings_of_a_widget_are_checked_and_the_snippet_names_its_loader(stage: Scene) -> None:
    key, path = stage.own.all_scopes.secret, f"/agents/{stage.own.ids['agentId']}/widget"
    sent = {"title": "<b>Shop</b>", "greeting": {"de": "Hallo\nWelt"}, "theme": {"accent": "#aa0000"}}
    status, answer, _ = await ask(stage, "PUT", path, key, sent, origin=None)
    assert (status, answer["data"]["title"], answer["data"]["position"]) == (200, "<b>Shop</b>", "right")
    for wrong in (
        {"theme": {"accent": "red"}},
        {"theme": {"accent": "#aa0000;background:url(https://evil.example)"}},
        {"greeting": {"xx": "Hello"}},
        {"title": "a\nb"},
        {"zIndex": 0},
        {"suggestions": {"en": ["x"] * 7}},
        {"colour": "red"},
    ):
        status, answer, _ = await ask(stage, "PUT", path, key, wrong, origin=None)
        assert (status, answer["code"]) == (422, "validation_failed"), wrong
    status, answer, _ = await ask(stage, "GET", path + "/embed", key, origin=None)
    assert answer["data"]["loaderUrl"].endswith("/widget/loader.js")
    assert answer["data"]["integrity"] in answer["data"]["pinnedSnippet"]
    status, answer, _ = await ask(stage, "POST", path + "/identity-secrets", key, origin=None)
    assert status == 201
    status, answer, _ = await ask(stage, "POST", path + "/identity-secrets", key, origin=None)
    assert (status, answer["code"]) == (422, "validation_failed")


def test_no_route_of_pages_can_change_a_workspace() -> None:
    for_pages = {named(route) for route in ROUTES if route.is_for_pages}
    ways_to_chat = {named(route) for route in faces.ROUTES}
    assert all(" /chat/" in name or name in ways_to_chat for name in for_pages), for_pages
    assert all(
        route.scope in (Scope.CHAT_PUBLIC, Scope.CHAT_READ, Scope.CHAT_WRITE) for route in ROUTES if route.visitor
    )


async def test_feedback_about_an_answer_is_kept_listed_and_erased_with_its_session(stage: Scene) -> None:
    ids, key = stage.own.ids, stage.own.all_scopes.secret
    path = f"/chat/sessions/{ids['sessionId']}/messages/{ids['messageId']}/feedback"
    own = tokens(key_id=ids["keyId"], agent_id=ids["agentId"], session_id=ids["sessionId"])
    assert (await ask(stage, "POST", path, own, {"rating": "up"}))[0] == 200
    status, answer, _ = await ask(stage, "POST", path, key, {"rating": "down", "comment": "Too short."}, origin=None)
    assert (status, answer["data"]["rating"], answer["data"]["turnId"]) == (200, "down", ids["turnId"])
    for query, count in (("", 1), ("?rating=down", 1), ("?rating=up", 0), (f"?agentId={ids['agentId']}", 1)):
        status, answer, _ = await ask(stage, "GET", "/chat/feedback" + query, key, origin=None)
        assert [row["comment"] for row in answer["data"]] == ["Too short."] * count, query
    for wrong in ({"rating": "sideways"}, {}, {"rating": "up", "comment": "x" * 1001}):
        assert (await ask(stage, "POST", path, key, wrong, origin=None))[0] == 422
    other = path.replace(ids["messageId"], new_id("msg"))
    assert (await ask(stage, "POST", other, key, {"rating": "up"}, origin=None))[0] == 404
    receipts = f"/chat/sessions/{ids['sessionId']}/events?stored=true"
    status, answer, _ = await ask(stage, "GET", receipts, key, origin=None)
    assert answer["data"][0]["feedback"]["comment"] == "Too short."
    await stage.history.client.delete_session(OWN, ids["sessionId"])
    assert (await ask(stage, "GET", "/chat/feedback", key, origin=None))[1]["data"] == []
    assert not await stage.history.documents["turns"].find({"feedback": {"$exists": True}}).to_list(None)


async def test_a_visitor_and_an_address_have_limits_of_their_own(stage: Scene, redis_url: str) -> None:
    limited = {"visitor_requests_per_minute": 5, "visits_per_minute": 3}
    async with gateway_before(stage.history, redis_url, **limited) as base:
        own = replace(stage, base=base)
        first, second = await visit(own), await visit(own)
        paths = [f"/chat/sessions/{each['session']['id']}" for each in (first, second)]
        answers = [await ask(own, "GET", paths[0], first["visitorToken"]) for _ in range(8)]
        assert [status for status, *_ in answers].count(429) >= 2
        status, answer, headers = answers[-1]
        assert (status, answer["code"]) == (429, "rate_limited")
        assert int(headers["Retry-After"]) >= 1
        # The other visitor of the same key is not touched.
        assert (await ask(own, "GET", paths[1], second["visitorToken"]))[0] == 200
        await visit(own)
        status, answer, _ = await ask(own, "POST", "/chat/widget/sessions", stage.own.session_key.secret, {})
        assert (status, answer["code"]) == (429, "rate_limited")
