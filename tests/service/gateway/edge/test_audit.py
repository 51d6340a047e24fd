"""The audit: written once, told with its request, and changed or deleted by no route."""

import ast
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from services.gateway.call import Route
from services.gateway.route_table import ROUTES
from tests.service.gateway.edge.test_authorisation import BODIES, QUERIES
from tests.service.gateway.edge.workspace_scene import OWN, Scene, scene

ROOT = Path(__file__).parents[4]


@pytest.fixture
async def stage(mongodb_uri: str, redis_url: str) -> AsyncIterator[Scene]:
    async with scene(mongodb_uri, redis_url) as prepared:
        yield prepared


async def entries(stage: Scene) -> dict[str, dict[str, Any]]:
    rows = await stage.history.documents["audit"].find({"workspace": OWN}).to_list(None)
    return {row["_id"]: row for row in rows}


def path_of(stage: Scene, route: Route) -> str:
    ids = dict(stage.own.ids)
    if route.path.startswith("/keys/"):
        ids["keyId"] = ids["secretKeyId"]
    return re.sub(r"\{(\w+)\}", lambda name: ids[name[1]], route.path) + QUERIES.get(route.path, "")


async def test_no_route_changes_or_deletes_an_entry(stage: Scene) -> None:
    before = await entries(stage)
    assert before
    headers = {"Authorization": f"Bearer {stage.own.all_scopes.secret}"}
    # Keys last: without this one nothing could be asked.
    for route in sorted(ROUTES, key=lambda route: (route.path.startswith("/keys"), route.method == "DELETE")):
        body = None if route.method == "GET" else BODIES.get((route.method, route.path), {})
        url = stage.base + path_of(stage, route)
        async with stage.client.request(route.method, url, json=body, headers=headers) as response:
            assert response.status < 500, f"{route.method} {route.path}"
            response.close()
        after = await entries(stage)
        assert {each: after.get(each) for each in before} == before, f"{route.method} {route.path}"
        before = after
    actions = {row["action"] for row in before.values()}
    assert {"session.deleted", "completion.deleted", "end_user.erasure_requested", "agent.deleted"} <= actions


async def test_an_entry_says_who_asked_in_which_request_and_nothing_of_content(stage: Scene) -> None:
    key = stage.own.all_scopes
    headers = {"Authorization": f"Bearer {key.secret}"}
    session = stage.own.ids["sessionId"]
    async with stage.client.delete(f"{stage.base}/chat/sessions/{session}", headers=headers) as response:
        request_id = response.headers["x-request-id"]
    async with stage.client.get(f"{stage.base}/audit?limit=200", headers=headers) as response:
        rows = orjson.loads(await response.read())["data"]
    told = [(row["action"], row["actor"], row["requestId"]) for row in rows if row["target"] == session]
    assert told == [("session.deleted", key.id, request_id)]
    assert all(row["id"] and row["at"] for row in rows)
    assert "our own" not in repr(rows)


def test_only_the_audit_itself_reaches_its_documents_and_only_adds_and_reads() -> None:
    """A workspace's deletion erases by the list of all collections."""
    of_audit = ROOT / "services/history/audit/records.py"
    for path in (ROOT / "services/history").rglob("*.py"):
        if path != of_audit:
            assert "database.audit" not in path.read_text(), path
    calls = {
        node.attr
        for node in ast.walk(ast.parse(of_audit.read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self._records"
    }
    assert calls == {"insert", "page"}
