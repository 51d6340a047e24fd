"""End users through a gateway before a real history: exported whole, erased with a receipt."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from yarl import URL

from services.history.erasures import receipts
from shared.contracts.keys import Scope
from shared.contracts.sessions import EndUser
from shared.contracts.turns import CompletionRequest
from shared.ids import new_id
from tests.service.gateway.edge.workspace_scene import OWN, Scene, scene
from tests.service.history.running import completion, finished, order

# An id of its workspace's own making may have any characters.
WHO = "jane/doe@shop.example?x=1 ü"
HERS = "/end-users/" + quote(WHO, safe="")


@pytest.fixture
async def stage(mongodb_uri: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setattr(receipts, "STAYS_EMPTY_FOR", timedelta(0))
    async with scene(mongodb_uri, redis_url) as prepared:
        yield prepared


async def ask(stage: Scene, method: str, path: str) -> tuple[int, bytes]:
    key = await stage.key_with(frozenset({Scope.ENDUSERS_WRITE}))
    url = URL(stage.base + path, encoded=True)
    async with stage.client.request(method, url, headers={"Authorization": f"Bearer {key}"}) as response:
        return response.status, await response.read()


async def converse(stage: Scene) -> tuple[str, str]:
    """Her session with a turn, and her stored completion."""
    client, agent = stage.history.client, stage.own.ids["agentId"]
    session = await client.create_session(OWN, new_id("ses"), agent, {}, False, EndUser(id=WHO))
    request = CompletionRequest(store=True, end_user=EndUser(id=WHO))
    kept = completion("Her completion").model_copy(update={"agent_id": agent, "completion": request})
    for admitted in (order(session.id, "Her question"), kept):
        await client.admit(OWN, admitted)
        await stage.history.dependencies.finalizer.finish(finished(admitted.turn_id, 0, "Her answer"))
    return session.id, kept.turn_id


async def exported(stage: Scene) -> list[dict[str, Any]]:
    status, body = await ask(stage, "GET", HERS + "/export")
    assert status == 200
    return [orjson.loads(line) for line in body.splitlines()]


async def test_an_export_has_all_that_is_held_of_an_end_user(stage: Scene) -> None:
    session, completed = await converse(stage)
    first, held, turn, kept, last = await exported(stage)
    assert first == {"type": "endUser", "id": WHO}
    assert (held["type"], held["session"]["id"], held["session"]["endUser"]["id"]) == ("session", session, WHO)
    assert (turn["type"], [message["content"] for message in turn["messages"]]) == (
        "turn",
        ["Her question", "Her answer"],
    )
    assert (kept["type"], kept["turn"]["id"], kept["messages"][0]["content"]) == (
        "completion",
        completed,
        "Her completion",
    )
    assert last == {"type": "end", "sessions": 1, "turns": 1, "completions": 1}
    actions = [row["action"] for row in await stage.history.documents["audit"].find({"workspace": OWN}).to_list(None)]
    assert "end_user.exported" in actions


async def test_an_erased_end_user_has_a_receipt_and_an_empty_export(stage: Scene) -> None:
    await converse(stage)
    status, body = await ask(stage, "DELETE", HERS)
    erasure = orjson.loads(body)["data"]
    assert (status, erasure["status"], erasure["completedAt"]) == (202, "erasing", None)
    for _ in range(3):
        await stage.history.dependencies.nouns.end_user_erasures.reconcile()
    status, body = await ask(stage, "GET", f"/end-user-erasures/{erasure['id']}")
    receipt = orjson.loads(body)["data"]
    assert (status, receipt["status"], receipt["erased"]) == (
        200,
        "erased",
        {"sessions": 1, "turns": 1, "completions": 1},
    )
    assert WHO not in body.decode()
    assert [line["type"] for line in await exported(stage)] == ["endUser", "end"]
    status, body = await ask(stage, "GET", "/end-user-erasures")
    assert receipt in orjson.loads(body)["data"]


async def test_an_end_users_id_has_at_most_200_characters(stage: Scene) -> None:
    for method, path in (("DELETE", ""), ("GET", "/export")):
        status, body = await ask(stage, method, "/end-users/" + "x" * 201 + path)
        assert (status, orjson.loads(body)["errors"][0]["field"]) == (400, "endUserId")
