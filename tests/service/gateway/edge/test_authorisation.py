"""The table of who may do what: every route, every kind of credential, own, foreign and absent objects.

A new route is in the table by itself. If it has an id in its path that `absent_ids` does not know, or needs a body to
get as far as its objects, the tests here fail until the scene or BODIES know it.
"""

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import orjson
import pytest

from services.gateway.call import Route
from services.gateway.edge.visitor_tokens import Grant, VisitorTokens
from services.gateway.route_table import ROUTES
from shared.contracts.key_records import RotateKey
from shared.contracts.keys import SECRET_SCOPES, NewKey, Publishable, Scope, digest_of, new_secret
from shared.contracts.widget import Visitor
from tests.service.gateway.edge.workspace_scene import CANARY, FOREIGN, OWN, Scene, absent_ids, scene
from tests.service.history.running import TOKEN

OPEN = {"/openapi.json", "/schemas/agent.json"}
TO_AGENT = {
    "message": {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "hi"}]},
    "configuration": {"returnImmediately": True},
}
# What the routes need to get as far as the object that their path names.
BODIES: Mapping[tuple[str, str], Any] = {
    ("POST", "/chat/sessions/{sessionId}/messages"): {"content": "hi"},
    ("POST", "/agents/{agentId}/rollback"): {"version": 1},
    ("POST", "/agents/{agentId}/publishable-keys"): {"allowedOrigins": ["https://a.example"]},
    ("POST", "/chat/completions/{completionId}"): {"metadata": {}},
    ("POST", "/agents/{agentId}/knowledge/sources"): {"kind": "text", "text": "Some text."},
    ("POST", "/agents/{agentId}/knowledge/preview"): {"query": "Anything?"},
    ("PUT", "/agents/{agentId}/checks"): {"checks": []},
    ("PUT", "/agents/{agentId}/widget"): {},
    ("POST", "/chat/sessions/{sessionId}/messages/{messageId}/feedback"): {"rating": "up"},
    ("POST", "/agents/{agentId}/checks/run"): {"version": 1},
    ("POST", "/agents/{agentId}/ui/chat"): {"id": "c", "message": {"parts": [{"type": "text", "text": "hi"}]}},
    ("POST", "/agents/{agentId}/agui"): {
        "threadId": "t",
        "runId": "r",
        "messages": [{"id": "m", "role": "user", "content": "hi"}],
    },
    ("PUT", "/budgets/{subject}"): {"day": {"tokens": 1000000}},
    ("POST", "/webhooks"): {"url": "https://a.example/hook", "events": ["turn.completed"]},
    ("POST", "/agents/{agentId}/a2a"): {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": TO_AGENT},
    ("POST", "/agents/{agentId}/a2a/message:send"): TO_AGENT,
    ("POST", "/agents/{agentId}/a2a/message:stream"): TO_AGENT,
}
QUERIES: Mapping[str, str] = {
    "/agents/{agentId}/versions/{version}/diff": "?against=1",
    **{route.path: "?A2A-Version=1.0" for route in ROUTES if "/a2a" in route.path},
}
KEYED = [route for route in ROUTES if route.path not in OPEN]
# Routes of pages are in test_visitors.py: secret keys do not open them.
OF_SERVERS = [route for route in KEYED if route.scope is not Scope.CHAT_PUBLIC]
WITH_IDS = [route for route in OF_SERVERS if "{" in route.path and "{endUserId}" not in route.path]
# An end user's id is the caller's own word: each workspace has its own of any name, and none is ever absent.
OF_END_USERS = [route for route in KEYED if "{endUserId}" in route.path]


class Answer(NamedTuple):
    status: int
    body: bytes

    @property
    def code(self) -> str:
        return str(orjson.loads(self.body)["code"])


@pytest.fixture
async def stage(mongodb_uri: str, redis_url: str) -> AsyncIterator[Scene]:
    async with scene(mongodb_uri, redis_url) as prepared:
        yield prepared


async def ask(stage: Scene, route: Route, ids: Mapping[str, str], *authorization: str) -> Answer:
    """The answer without what differs from request to request. Of a stream only the status is read."""
    named_ids = {**ids, "keyId": ids["secretKeyId"]} if route.path.startswith("/keys/") else ids
    path = re.sub(r"\{(\w+)\}", lambda name: named_ids.get(name[1], "unknown-to-the-scene"), route.path)
    headers = [("Authorization", text) for text in authorization]
    body = None if route.method == "GET" else BODIES.get((route.method, route.path), {})
    url = stage.base + path + QUERIES.get(route.path, "")
    async with stage.client.request(route.method, url, json=body, headers=headers) as response:
        if response.content_type == "text/event-stream":
            response.close()
            return Answer(response.status, b"")
        return Answer(response.status, re.sub(rb"req_\w{26}", b"req_", await response.read()))


async def bad_credentials(stage: Scene) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Of each kind: the code of its refusal, and what is sent."""
    client, soon = stage.history.client, datetime.now(UTC) - timedelta(seconds=1)
    revoked, rotated = [await client.create_key(NewKey(workspace=OWN, scopes=SECRET_SCOPES)) for _ in range(2)]
    expired = await client.create_key(NewKey(workspace=OWN, scopes=SECRET_SCOPES, expires_at=soon))
    await client.revoke_key(OWN, revoked.id)
    pages = Publishable(agent_id=stage.own.ids["agentId"], allowed_origins=("https://shop.example",))
    ended = await client.create_key(NewKey(workspace=OWN, scopes=frozenset({Scope.CHAT_PUBLIC})), pages)
    await client.revoke_key(OWN, ended.id, agent_id=pages.agent_id)
    await client.rotate_key(OWN, rotated.id, RotateKey(digest=digest_of(new_secret("live"))))
    good = stage.own.all_scopes.secret
    other = good.replace("_live_", "_test_")
    sent = {
        "malformed": ("invalid_api_key", ("Bearer nonsense",)),
        "of another scheme": ("invalid_api_key", (f"Basic {good}",)),
        "unknown": ("invalid_api_key", (f"Bearer {new_secret('live')}",)),
        "of another environment": ("invalid_api_key", (f"Bearer {other}",)),
        "revoked": ("invalid_api_key", (f"Bearer {revoked.secret}",)),
        "rotated, after its grace": ("invalid_api_key", (f"Bearer {rotated.secret}",)),
        "sent twice": ("invalid_api_key", (f"Bearer {good}", f"Bearer {good}")),
        "expired": ("expired_api_key", (f"Bearer {expired.secret}",)),
        "publishable and revoked": ("invalid_api_key", (f"Bearer {ended.secret}",)),
        "a visitor's, malformed": ("invalid_visitor_token", ("Bearer parley_vt_nonsense",)),
        "a visitor's, of another deployment": (
            "invalid_visitor_token",
            (f"Bearer {_visitor(stage, secret='x' * 32)}",),
        ),
        "a visitor's, expired": ("expired_visitor_token", (f"Bearer {_visitor(stage, life_s=-5.0)}",)),
        "a visitor's, of a revoked key": ("invalid_api_key", (f"Bearer {_visitor(stage, key_id=ended.id)}",)),
    }
    return {"none": ("missing_api_key", ()), **sent}


def _visitor(stage: Scene, *, secret: str = TOKEN, life_s: float = 60.0, key_id: str = "") -> str:
    """A token for the own session, by a deployment with this secret."""
    ids = stage.own.ids
    visitor = Visitor(id="vis_1", session_id=ids["sessionId"], origin="https://shop.example")
    grant = Grant(workspace=OWN, key_id=key_id or ids["keyId"], agent_id=ids["agentId"], visitor=visitor)
    return VisitorTokens([secret], life_s=life_s).issue(grant).token


def named(route: Route) -> str:
    return f"{route.method} {route.path}"


def test_only_the_open_routes_need_no_scope() -> None:
    assert {route.path for route in ROUTES if route.scope is None} == OPEN


async def test_a_refused_credential_gets_the_same_bytes_whatever_it_asks_for(stage: Scene) -> None:
    kinds = await bad_credentials(stage)
    asked = (stage.own.ids, stage.foreign.ids, absent_ids())
    by_code: dict[str, set[Answer]] = {}
    for route in KEYED:
        for kind, (code, sent) in kinds.items():
            for ids in asked:
                answer = await ask(stage, route, ids, *sent)
                assert (answer.status, answer.code) == (401, code), f"{named(route)}, key {kind}"
                by_code.setdefault(code, set()).add(answer)
    assert {code: len(answers) for code, answers in by_code.items()} == dict.fromkeys(by_code, 1)


async def test_a_key_without_the_scope_learns_nothing_of_any_object(stage: Scene) -> None:
    for route in KEYED:
        assert route.scope is not None
        keys = {
            "lacks the scope": await stage.key_with(SECRET_SCOPES - {route.scope}),
            "publishable": stage.own.session_key.secret,
        }
        for kind, secret in keys.items():
            if kind == "publishable" and route.scope is Scope.CHAT_PUBLIC:
                continue
            answers = {
                await ask(stage, route, ids, f"Bearer {secret}")
                for ids in (stage.own.ids, stage.foreign.ids, absent_ids())
            }
            assert len(answers) == 1, f"{named(route)}, key {kind}"
            answer = answers.pop()
            assert (answer.status, answer.code) == (403, "insufficient_scope"), f"{named(route)}, key {kind}"
            assert orjson.loads(answer.body)["requiredScope"] == route.scope


def mixtures(stage: Scene, route: Route) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """Ids of which the last ones are foreign, and the same with absent ones: all of them, then behind own ones."""
    absent, names = absent_ids(), re.findall(r"\{(\w+)\}", route.path)
    for count in range(len(names)):
        if count and names[count:] == ["version"]:
            continue  # A number is no secret, and both workspaces have a version 1.
        own = {name: stage.own.ids[name] for name in names[:count] if name in stage.own.ids}
        yield {**stage.foreign.ids, **own}, {**absent, **own}


async def test_foreign_objects_look_like_absent_ones(stage: Scene) -> None:
    before = await contents(stage, FOREIGN)
    key = f"Bearer {stage.own.all_scopes.secret}"
    for route in WITH_IDS:
        for foreign, absent in mixtures(stage, route):
            answer = await ask(stage, route, foreign, key)
            assert answer.status == 404, f"{named(route)}: {answer.body!r}; does it need a row in BODIES?"
            assert answer == await ask(stage, route, absent, key), named(route)
            assert CANARY.encode() not in answer.body
    assert await contents(stage, FOREIGN) == before


async def test_an_end_user_of_another_workspace_is_another_one(stage: Scene) -> None:
    before, own = await contents(stage, FOREIGN), stage.own.all_scopes.secret
    for route in OF_END_USERS:
        answer = await ask(stage, route, stage.foreign.ids, f"Bearer {own}")
        assert answer.status in (200, 202), named(route)
        assert stage.foreign.ids["sessionId"].encode() not in answer.body
        assert CANARY.encode() not in answer.body.replace(b'{"type":"endUser","id":"' + CANARY.encode(), b"")
    assert len(OF_END_USERS) == 2
    assert await contents(stage, FOREIGN) == before


async def test_lists_hold_nothing_of_another_workspace(stage: Scene) -> None:
    key = f"Bearer {stage.own.all_scopes.secret}"
    for route in OF_SERVERS:
        if route.method == "GET" and "{" not in route.path:
            answer = await ask(stage, route, stage.own.ids, key)
            # Without the id of an event there is no stream to continue.
            assert answer.status == (405 if route.path == "/mcp" else 200), named(route)
            assert CANARY.encode() not in answer.body, named(route)
            assert stage.foreign.ids["agentId"].encode() not in answer.body, named(route)


async def test_foreign_ids_in_bodies_and_queries_look_like_absent_ones(stage: Scene) -> None:
    foreign, absent = stage.foreign.ids["agentId"], absent_ids()["agentId"]
    headers = {"Authorization": f"Bearer {stage.own.all_scopes.secret}"}
    messages = [{"role": "user", "content": "hi"}]

    async def asked(method: str, path: str, body: Any = None) -> Answer:
        async with stage.client.request(method, stage.base + path, json=body, headers=headers) as response:
            return Answer(response.status, re.sub(rb"req_\w{26}", b"req_", await response.read()))

    async def pair(method: str, path: str, body: Any = None) -> list[Answer]:
        """With the foreign id, and with the absent one."""
        shown = orjson.dumps(body).decode()
        return [
            await asked(method, path.replace("AGENT", agent), orjson.loads(shown.replace("AGENT", agent)))
            for agent in (foreign, absent)
        ]

    for one, other in (
        await pair("POST", "/chat/sessions", {"agentId": "AGENT"}),
        await pair("POST", "/chat/completions", {"model": "AGENT", "messages": messages}),
        await pair("GET", "/chat/sessions?agentId=AGENT"),
        await pair("GET", "/chat/completions?model=AGENT"),
    ):
        assert one == other
        assert CANARY.encode() not in one.body


async def test_the_right_key_reads_its_own_objects(stage: Scene) -> None:
    """Without this the tables above could hold because nothing works."""
    for route in WITH_IDS:
        if route.method == "GET":
            key = await stage.key_with(frozenset({Scope(str(route.scope))}))
            answer = await ask(stage, route, stage.own.ids, f"Bearer {key}")
            # The scene's task has ended, and only a running one can be followed.
            expected = 400 if route.path.endswith(":subscribe") else 200
            assert answer.status == expected, f"{named(route)}: {answer.body!r}"


async def test_the_other_workspaces_key_changes_nothing_here(stage: Scene) -> None:
    before = await contents(stage, OWN)
    for route in WITH_IDS:
        answer = await ask(stage, route, stage.own.ids, f"Bearer {stage.foreign.all_scopes.secret}")
        assert answer.status == 404, named(route)
    assert await contents(stage, OWN) == before


async def contents(stage: Scene, workspace: str) -> dict[str, list[dict[str, Any]]]:
    """All documents of a workspace, by their collections, but for the time of its keys' last use."""
    documents = stage.history.documents
    found = {}
    for name in sorted(await documents.list_collection_names()):
        rows = await documents[name].find({"workspace": workspace}).to_list(None)
        found[name] = [
            {member: value for member, value in row.items() if member != "lastUsedAt"}
            for row in sorted(rows, key=lambda row: str(row["_id"]))
        ]
    assert found["sessions"]
    return {name: rows for name, rows in found.items() if rows}


async def test_a_key_in_the_url_is_refused_beside_a_good_one(stage: Scene) -> None:
    headers = {"Authorization": f"Bearer {stage.own.all_scopes.secret}"}
    for query in ("api_key=x", f"q={stage.own.all_scopes.secret}"):
        async with stage.client.get(f"{stage.base}/keys?{query}", headers=headers) as response:
            text = await response.text()
            assert response.status == 400
            assert stage.own.all_scopes.secret not in text


async def test_the_scene_knows_every_id_of_the_table(stage: Scene) -> None:
    names = {name for route in ROUTES for name in re.findall(r"\{(\w+)\}", route.path)}
    known = stage.own.ids.keys() & stage.foreign.ids.keys() & absent_ids().keys()
    assert not names - known, "make an object of this kind in workspace_scene.py, and an absent id"
