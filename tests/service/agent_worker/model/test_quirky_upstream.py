"""Every behaviour of the quirky upstream, and what a caller of the model client gets of it."""

import pytest

from services.agent_worker.model import client
from services.agent_worker.model.answer import Answer
from services.agent_worker.model.call import Sink
from services.agent_worker.model.client import ModelRequest, Models
from services.agent_worker.model.faults import ModelFault
from services.agent_worker.settings import Timeouts, Upstream
from shared.contracts.agents import ModelChoice
from tests.service.agent_worker.stage import serving
from tests.upstream.quirky import BEHAVIOURS, QuirkyUpstream
from tests.upstream.script import Outcome

TIMEOUTS = Timeouts(connect_s=5.0, first_token_s=20.0, token_s=20.0)
REQUEST = {
    "messages": [{"role": "user", "content": "Where is my order?"}],
    "temperature": 0.2,
    "max_tokens": 99,
    "tools": [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}],
}


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "BACKOFF_S", 0.001)


async def ask(url: str, name: str, shown: list[str], thoughts: list[str]) -> Answer:
    async def backpressure() -> None:
        pass

    upstream = Upstream.model_validate({"baseUrl": f"{url}/v1", "options": BEHAVIOURS[name].options})
    async with Models({"default": upstream}, TIMEOUTS) as models:
        return await models.answer(
            [ModelChoice(name=name)],
            ModelRequest(REQUEST),
            room=100_000,
            id_stem="stem",
            sink=Sink(show=shown.append, backpressure=backpressure, reason=thoughts.append),
        )


def outcome_of(answer: Answer, shown: list[str], last_thought: str, requests: int, quirk: str | None) -> Outcome:
    calls = tuple((call.name, call.arguments) for call in answer.tool_calls)
    used = answer.usage
    return Outcome(
        text="".join(shown),
        finish=answer.finish_reason,
        calls=calls,
        reasoning=last_thought,
        usage=(used.prompt_tokens, used.completion_tokens, used.total_tokens) if used is not None else None,
        requests=requests,
        quirk=quirk if quirk in answer.quirks else None,
    )


async def outcome(url: str, upstream: QuirkyUpstream, name: str) -> Outcome:
    expected, shown, thoughts = BEHAVIOURS[name].outcome, list[str](), list[str]()
    try:
        answer = await ask(url, name, shown, thoughts)
    except ModelFault as fault:
        return Outcome(
            text="".join(shown),
            finish=None,
            fault=fault.kind,
            retryable=fault.retryable,
            requests=len(upstream.bodies[name]),
        )
    requests = len(upstream.bodies[name])
    assert len({call.id for call in answer.tool_calls}) == len(answer.tool_calls)
    assert "".join(shown) == "".join(answer.text)
    # A try that is repeated has had its thoughts too.
    assert "".join(thoughts) in ("", expected.reasoning, expected.reasoning * requests)
    thought = expected.reasoning if thoughts else ""
    return outcome_of(answer, shown, thought, requests, expected.quirk)


@pytest.mark.parametrize("name", BEHAVIOURS)
async def test_a_quirk_of_an_upstream_has_its_one_right_outcome(name: str) -> None:
    upstream = QuirkyUpstream()
    async with serving(*upstream.routes) as url:
        assert await outcome(url, upstream, name) == BEHAVIOURS[name].outcome


def test_the_quirky_upstream_knows_more_than_eighty_behaviours() -> None:
    assert len(BEHAVIOURS) >= 80
