"""A hostile model cannot harm the worker: its turn ends within bounds, and turns beside it are answered as always."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from aiohttp import web

from shared.contracts.jobs import RunTurn
from shared.run_log.reader import RunLogs
from shared.turn_queue.queue import TurnQueue
from tests.service.agent_worker.fake_history import FakeHistory
from tests.service.agent_worker.stage import Ended, Stage, serving
from tests.service.agent_worker.turns.hostile import MODELS, complete

# What an attack may come to: its error code, or None where the turn completes and its tools' results say what was
# wrong.
OUTCOMES: dict[str, str | None] = {
    "unlisted": None,
    "ten thousand calls": "upstream_error",
    "a call in every answer": "turn_failed",
    "many calls in every answer": "turn_failed",
    "endless text": None,
    "endless arguments": None,
    "endless calls": "upstream_error",
    "malformed arguments": None,
    "a megabyte of arguments": None,
    "deep arguments": None,
    "malformed stream": "upstream_error",
    "another session": None,
    "one id for every call": None,
}
MAX_STORED = 8 << 20


class Service:
    """The agent's tool server: what it was asked."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.paths.append(request.raw_path)
        return web.Response(text="fine")


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
async def stage(redis_url: str, service: Service) -> AsyncIterator[Stage]:
    routes = [web.post("/v1/chat/completions", complete), web.route("*", "/tools/{path:.*}", service.answer)]
    queue = TurnQueue.connect(redis_url)
    async with serving(*routes) as url, RunLogs([redis_url], keep_s=60) as logs:
        yield Stage(redis_url, url, FakeHistory(), queue, logs)
    await queue.aclose()


def tools_at(stage: Stage) -> list[dict[str, Any]]:
    form = {"type": "object", "properties": {"email": {"type": "string"}}, "additionalProperties": False}
    by_id = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
    return [
        stage.tool(),
        stage.tool("order", url=f"{stage.model_url}/tools/orders/{{id}}", parameters=by_id),
        {"kind": "builtin", "builtin": "end_session"},
        {"kind": "builtin", "builtin": "collect", "name": "lead", "parameters": form},
    ]


async def attacked(stage: Stage, model: str) -> Ended:
    """The attack's turn, with a turn before, beside and after it on the same worker."""

    async def honest() -> RunTurn:
        return await stage.post(stage.agent("honest"), number=2)

    async with stage.worker():
        attack = await stage.post(stage.agent(model, tools=tools_at(stage)))
        beside = [await honest() for _ in range(5)]
        ended = await stage.ended(attack, within_s=30.0)
        others = [await stage.ended(job, within_s=30.0) for job in (*beside, await honest())]
    assert [other.text for other in others] == ["All is well."] * 6
    assert {other.turn.status for other in others} == {"completed"}
    return ended


def test_every_attack_has_an_outcome() -> None:
    assert set(OUTCOMES) == set(MODELS) - {"honest"}


@pytest.mark.parametrize("model", OUTCOMES)
async def test_an_attack_ends_within_bounds_and_harms_no_other_turn(stage: Stage, model: str) -> None:
    ended = await attacked(stage, model)
    code = OUTCOMES[model]
    if code is None:
        assert ended.turn.status == "completed"
    else:
        assert ended.turn.status == "failed"
        assert ended.turn.error is not None
        assert ended.turn.error["code"] == code
        assert ended.turn.error["detail"]
    assert len(orjson.dumps(ended.turn.wire())) < MAX_STORED
    assert sum(len(orjson.dumps(data)) for _, data in ended.frames) < MAX_STORED
    assert not ended.turn.end_session
    assert ended.turn.collected == {}


async def test_no_more_calls_are_made_than_one_turn_may_have(stage: Stage, service: Service) -> None:
    for model in ("ten thousand calls", "many calls in every answer"):
        await attacked(stage, model)
    assert len(service.paths) <= 180


async def test_arguments_name_no_other_place(stage: Stage, service: Service) -> None:
    ended = await attacked(stage, "another session")
    results = ended.data("tool_result")
    assert [result["status"] for result in results] == ["error", "error", "ok", "error"]
    assert service.paths == ["/tools/orders/..%2F..%2Fother%2Fses_01k00000000000000000000000"]


async def test_a_bad_call_is_answered_so_that_the_model_can_do_better(stage: Stage, service: Service) -> None:
    ended = await attacked(stage, "malformed arguments")
    results = ended.data("tool_result")
    assert all(result["status"] == "error" for result in results)
    assert "JSON" in results[0]["result"]
    assert service.paths == []
    assert ended.text == "I tried."
