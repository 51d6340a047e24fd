"""The export of sessions as lines of JSON."""

import aiohttp
import orjson
import pytest

from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import Scope
from tests.service.gateway.fakes import Stage
from tests.service.gateway.streaming.test_session_events import post

PATH = "/chat/sessions/export"


async def test_an_export_has_every_session_with_its_turns_and_counts_both(gateway: Stage) -> None:
    sessions = [await gateway.session() for _ in range(3)]
    for number in range(25):
        await gateway.answer(await post(gateway, sessions[1], f"Question {number}"), f"Answer {number}")
    async with gateway.client.get(gateway.url(PATH)) as response:
        assert (response.status, response.content_type) == (200, "application/x-ndjson")
        lines = [orjson.loads(line) for line in (await response.read()).splitlines()]
    assert [line["session"]["id"] for line in lines if line["type"] == "session"] == sessions
    turns = [line for line in lines if line["type"] == "turn"]
    assert [(turn["sessionId"], turn["number"]) for turn in turns] == [(sessions[1], n) for n in range(1, 26)]
    assert [turn["messages"][1]["content"] for turn in turns] == [f"Answer {n}" for n in range(25)]
    assert lines[-1] == {"type": "end", "sessions": 3, "turns": 25}


async def test_an_export_that_fails_on_its_way_is_broken_off(gateway: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        session = await gateway.session()
        await gateway.answer(await post(gateway, session), "Yes.")
    working = gateway.history.session_turns

    async def failing(workspace: str, session_id: str, start: int = 1, limit: int = 20) -> object:
        if session_id == session:
            raise ApiError(Code.DEPENDENCY_UNAVAILABLE)
        return await working(workspace, session_id, start, limit)

    monkeypatch.setattr(gateway.history, "session_turns", failing)
    async with gateway.client.get(gateway.url(PATH)) as response:
        assert response.status == 200
        with pytest.raises(aiohttp.ClientError):
            await response.read()


async def test_an_export_that_cannot_begin_is_answered_with_a_problem(gateway: Stage) -> None:
    gateway.history.down = True
    async with gateway.client.get(gateway.url(PATH)) as response:
        assert response.status == 503
        assert response.content_type == "application/problem+json"


async def test_an_export_shows_nothing_of_another_workspace(gateway: Stage) -> None:
    await gateway.session()
    stranger = gateway.history.key(Scope.CHAT_READ, workspace="ws_two")
    async with gateway.client.get(gateway.url(PATH), headers={"Authorization": f"Bearer {stranger}"}) as response:
        assert (await response.read()) == b'{"type":"end","sessions":0,"turns":0}\n'


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("agentVersion=1", "agentVersion"),
        ("agentId=x", "agentId"),
        ("createdFrom=yesterday", "createdFrom"),
        ("createdBefore=2026-01-01T00:00:00", "createdBefore"),
        ("endUser=", "endUser"),
        ("status=deleted", "status"),
        ("&".join(f"metadata[{n}]=x" for n in range(17)), "metadata"),
    ],
)
@pytest.mark.parametrize("path", [PATH, "/chat/sessions"])
async def test_a_filter_of_the_wrong_form_is_refused_by_its_name(
    gateway: Stage, path: str, query: str, field: str
) -> None:
    async with gateway.client.get(gateway.url(f"{path}?{query}")) as response:
        body = await response.json()
        assert (response.status, body["code"], body["errors"][0]["field"]) == (400, "invalid_request", field)
