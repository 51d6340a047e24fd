"""Turns that end early: faults of the model, deadlines, cancellation."""

import time
from typing import Any

import pytest
from prometheus_client import REGISTRY

from deploy.demo.scripted import scripted_answer
from services.agent_worker.model.client import Models
from tests.conftest import eventually
from tests.service.agent_worker.stage import SLOW, Stage, model_stats


@pytest.mark.parametrize(
    "fault", ["fail=500,fail_times=2", "fail=cut,after=0,fail_times=1", "fail=error_chunk,after=0,fail_times=1"]
)
async def test_a_fault_before_the_first_text_is_invisible(stage: Stage, fault: str) -> None:
    async with stage.worker():
        ended = await stage.ended(await stage.post(stage.agent(f"scripted/tokens=8,text=echo,{fault}")))
    assert ended.turn.status == "completed"
    assert ended.events == ["started", "delta"]


async def test_a_fallback_model_answers_for_one_that_is_down(stage: Stage) -> None:
    agent = stage.agent("scripted/fail=401", fallback_models=[{"name": "scripted/tokens=8,text=echo"}])
    async with stage.worker():
        ended = await stage.ended(await stage.post(agent))
    assert ended.text == scripted_answer("Hello?", 8)


@pytest.mark.parametrize("fault", ["cut", "error_chunk", "nofinish", "hang"])
async def test_an_answer_that_breaks_off_fails_the_turn_and_keeps_what_was_shown(stage: Stage, fault: str) -> None:
    async with stage.worker():
        ended = await stage.ended(
            await stage.post(stage.agent(f"scripted/tokens=8,delay=5,text=echo,fail={fault},after=4"))
        )
    assert ended.turn.status == "failed"
    assert ended.turn.finish_reason is None
    assert ended.turn.error is not None
    assert (ended.turn.error["code"], ended.turn.error["status"], ended.turn.error["retryable"]) == (
        "upstream_error",
        502,
        True,
    )
    assert [(message.content, message.status) for message in ended.turn.output] == [(ended.text, "partial")]
    assert scripted_answer("Hello?", 8).startswith(ended.text)
    assert ended.turn.usage is not None
    assert ended.turn.usage.estimated


TURN_METRICS: tuple[tuple[str, dict[str, str]], ...] = (
    ("parley_turns_total", {"status": "completed"}),
    ("parley_turn_seconds_count", {}),
    ("parley_first_text_seconds_count", {}),
    ("parley_tokens_total", {"upstream": "default", "kind": "prompt"}),
    ("parley_tokens_total", {"upstream": "default", "kind": "completion"}),
)


async def test_turns_of_checks_count_in_no_metric_of_turns(stage: Stage) -> None:
    def counted() -> list[float]:
        return [REGISTRY.get_sample_value(name, labels) or 0.0 for name, labels in TURN_METRICS]

    async def risen(*, check: bool) -> list[bool]:
        before = counted()
        async with stage.worker():  # Whoever leaves it has counted.
            await stage.ended(await stage.post(stage.agent(), more={"check": check}))
        return [now > earlier for now, earlier in zip(counted(), before, strict=True)]

    assert await risen(check=True) == [False] * len(TURN_METRICS)
    assert await risen(check=False) == [True] * len(TURN_METRICS)


async def test_a_model_that_stays_down_fails_the_turn(stage: Stage) -> None:
    async with stage.worker():
        ended = await stage.ended(await stage.post(stage.agent("scripted/fail=500")))
    assert ended.turn.status == "failed"
    assert ended.turn.error is not None
    assert ended.turn.error["code"] == "upstream_error"
    assert ended.turn.output == ()


async def test_a_turn_past_its_deadline_fails_and_lets_go_of_the_model(stage: Stage) -> None:
    async with stage.worker():
        ended = await stage.ended(await stage.post(stage.agent(SLOW), remaining_s=0.5))
        assert ended.turn.error is not None
        assert (ended.turn.error["code"], ended.turn.error["status"]) == ("turn_timeout", 504)
        assert ended.turn.output[0].status == "partial"

        async def is_free() -> bool:
            return (await model_stats(stage))["abandoned"] == 1

        await eventually(is_free, within_s=1.0)


async def test_an_unforeseen_exception_fails_the_turn_for_good(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(Models, "answer", broken)
    async with stage.worker():
        ended = await stage.ended(await stage.post(stage.agent()))
    assert ended.turn.error is not None
    assert (ended.turn.error["code"], ended.turn.error["retryable"]) == ("turn_failed", False)
    assert "Zero" not in str(ended.turn.error)


# --- cancel


async def test_a_cancelled_turn_stops_its_model_within_a_second_and_keeps_its_text(stage: Stage) -> None:
    async with stage.worker():
        job = await stage.post(stage.agent(SLOW))
        await stage.shows(job, "delta")
        asked = time.monotonic()
        await stage.queue.signal_cancel(job.turn_id)
        ended = await stage.ended(job, within_s=1.0)

        async def is_free() -> bool:
            return (await model_stats(stage))["abandoned"] == 1

        await eventually(is_free, within_s=max(0.1, 1.0 - (time.monotonic() - asked)))
    assert (ended.turn.status, ended.turn.finish_reason) == ("cancelled", "cancelled")
    assert [(message.content, message.status) for message in ended.turn.output] == [(ended.text, "partial")]
    assert ended.text


async def test_a_cancelled_turn_stops_its_tools(stage: Stage) -> None:
    agent = stage.agent("scripted/tool=count:{}", tools=[stage.tool(query="?delay_ms=60000", timeoutS=60)])
    async with stage.worker():
        job = await stage.post(agent)
        await stage.shows(job, "tool_call")
        await stage.queue.signal_cancel(job.turn_id)
        ended = await stage.ended(job, within_s=1.0)
    assert ended.turn.status == "cancelled"
    assert [(message.role, message.status) for message in ended.turn.output] == [
        ("assistant", "complete"),
        ("tool", "partial"),
    ]


async def test_a_turn_cancelled_before_its_attempt_started_says_nothing_and_lets_go_of_the_model(stage: Stage) -> None:
    async with stage.worker():
        ended = await stage.ended(
            await stage.post(stage.agent("scripted/tokens=2000,delay=20,text=echo"), cancel_requested=True)
        )

        async def is_let_go() -> bool:
            return (await model_stats(stage))["active"] == 0

        await eventually(is_let_go, within_s=2.0)
    assert (ended.turn.status, ended.turn.output, ended.events) == ("cancelled", (), ["started"])
