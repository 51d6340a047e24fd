"""Rubrics: a turn of the judge's model decides, and the agent's own turn is not asked twice."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from services.history.checks.judge import JUDGE_ID
from shared.contracts.errors import ApiError, Code
from tests.conftest import eventually
from tests.service.history.checks.playing import agent_with, check, run_to_end, turns_of, worker
from tests.service.history.conftest import is_ready
from tests.service.history.running import WORKSPACE, History, running, settings_for

RUBRIC = check("polite", ("Hello?", {"rubric": "The answer greets back."}), ("Bye?", {"contains": "bye"}))


@pytest.fixture
async def judged(mongodb_uri: str, redis_url: str) -> AsyncIterator[History]:
    async with running(settings_for(mongodb_uri, redis_url, checks_judge_model="judge")) as history:
        await eventually(lambda: is_ready(history), within_s=20.0)
        yield history


def answers(verdict: dict[str, Any]) -> Any:
    def answer(question: str, n: int) -> str:
        if n == 0:
            asked = orjson.loads(question)
            assert asked["criterion"] == "The answer greets back."
            assert asked["judged"] == {"user": "Hello?", "agent": "Hi!"}
            return f"```json\n{orjson.dumps(verdict).decode()}\n```"
        return {1: "Hi!", 2: "Good bye."}[n]

    return answer


async def test_a_rubric_that_is_met_lets_the_check_go_on(judged: History) -> None:
    agent = await agent_with(judged, RUBRIC)
    async with worker(judged, answers({"passes": True, "reason": "It does."})):
        assert (await run_to_end(judged, agent.id)).state == "passed"
    turns = await turns_of(judged)
    assert sorted(row["agentId"] == JUDGE_ID for row in turns) == [False, False, True]


async def test_a_rubric_that_is_not_met_fails_with_the_judges_reason(judged: History) -> None:
    agent = await agent_with(judged, RUBRIC)
    async with worker(judged, answers({"passes": False, "reason": "It is cold."})):
        run = await run_to_end(judged, agent.id)
    failure = (run.results or ())[0].failures[0]
    assert (failure.expectation, failure.message) == ("rubric", "The answer greets back. — It is cold.")


async def test_the_judge_is_no_agent_that_callers_can_reach(judged: History) -> None:
    await agent_with(judged, RUBRIC)
    for call in (judged.client.published_agent(WORKSPACE, JUDGE_ID), judged.client.draft(WORKSPACE, JUDGE_ID)):
        with pytest.raises(ApiError) as refusal:
            await call
        assert refusal.value.code is Code.AGENT_NOT_FOUND
    with pytest.raises(ApiError) as unknown:
        await judged.client.resolve_model(WORKSPACE, JUDGE_ID)
    assert unknown.value.code is Code.MODEL_NOT_FOUND


async def test_without_a_judge_a_rubric_is_refused(history: History) -> None:
    with pytest.raises(ApiError) as refusal:
        await agent_with(history, RUBRIC)
    assert refusal.value.errors[0]["field"] == "checks.0.steps.0.expect.0.rubric"
