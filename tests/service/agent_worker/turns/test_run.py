"""Turns from the queue to the outbox: the real leased worker, runner, log and Redis, the demo process's models, a fake
history.
"""

import asyncio
import time
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any, cast

import aiohttp
import pytest

from deploy.demo.scripted import scripted_answer
from services.agent_worker.model.client import Models
from shared.contracts.agents import Passage
from shared.contracts.errors import ApiError, Code
from shared.contracts.frames import BEGINNING, FrameId
from shared.contracts.sessions import TurnMessage
from shared.contracts.turns import CompletionRequest, StartAttempt, StartedAttempt
from shared.ids import is_id, new_id
from shared.turn_queue.keys import QUEUE
from shared.web.guard_rules import OutgoingPolicy
from tests.conftest import eventually
from tests.service.agent_worker.stage import Stage

SLOW = "scripted/tokens=200,delay=50,text=echo"


async def counted(stage: Stage) -> list[dict[str, Any]]:
    """What the counting tool was called with."""
    async with aiohttp.ClientSession() as session, session.get(f"{stage.model_url}/tools/counter") as response:
        calls: list[dict[str, Any]] = await response.json()
        return calls


async def model_stats(stage: Stage) -> dict[str, int]:
    async with aiohttp.ClientSession() as session, session.get(f"{stage.model_url}/stats") as response:
        stats: dict[str, int] = await response.json()
        return stats


async def test_a_turn_streams_its_answer_and_ends_in_the_outbox(stage: Stage) -> None:
    async with stage.worker():
        job = await stage.post(stage.agent(), "What is there?")
        ended = await stage.ended(job)
    answer = scripted_answer("What is there?", 8)
    assert ended.events == ["started", "delta"]
    assert ended.data("started") == [
        {"turnId": job.turn_id, "agentId": "agt_1", "agentVersion": 1, "attempt": 1, "waitMs": 5}
    ]
    assert ended.text == answer
    turn = ended.turn
    assert (turn.status, turn.finish_reason, turn.attempt, turn.error) == ("completed", "stop", 1, None)
    assert [(message.role, message.content, message.status) for message in turn.output] == [
        ("assistant", answer, "complete")
    ]
    assert is_id("msg", turn.output[0].id)
    assert turn.usage is not None
    assert turn.usage.completion_tokens == 8
    assert turn.usage.estimated is None
    assert turn.timing is not None
    assert turn.timing.queued_ms == 5 <= (turn.timing.first_token_ms or 0) <= turn.timing.total_ms


async def test_many_turns_at_once_each_get_their_own_answer(stage: Stage) -> None:
    async with stage.worker():
        jobs = [
            await stage.post(stage.agent("scripted/tokens=30,delay=2,text=echo"), f"question {number}")
            for number in range(40)
        ]
        for number, job in enumerate(jobs):
            ended = await stage.ended(job)
            assert ended.text == ended.turn.output[0].content == scripted_answer(f"question {number}", 30)


async def test_an_agents_version_is_asked_for_once_and_a_draft_each_time(stage: Stage) -> None:
    async with stage.worker():
        for number in (1, 1, 0, 0):
            await stage.ended(await stage.post(stage.agent(), number=number))
    assert [claim.knows_agent for claim in stage.history.claims_seen] == [False, True, False, False]


# --- knowledge and tools


async def test_passages_are_retrieved_told_given_to_the_model_and_kept(stage: Stage) -> None:
    stage.history.shelf = [
        Passage(source_id="src_1", title="Delivery", text="We deliver to 80202."),
        Passage(source_id="src_2", title="Hours", text="Open from eleven to ten."),
    ]
    async with stage.worker():
        ended = await stage.ended(await stage.post(stage.agent("demo/extractive"), "Do you deliver to 80202?"))
    assert ended.events == ["started", "kb_retrieval", "delta"]
    told = ended.data("kb_retrieval")[0]
    assert told["query"] == "Do you deliver to 80202?"
    assert told["passages"][0]["sourceId"] == "src_1"
    assert "80202" in ended.text
    assert ended.turn.output[0].knowledge is not None
    assert ended.turn.output[0].knowledge[0].wire() == told


async def test_tools_run_in_parallel_and_are_answered_in_order(stage: Stage) -> None:
    agent = stage.agent(
        "scripted/tokens=4,tool=slow:{},tool=fast:{},tool=missing:{}",
        tools=[
            stage.tool("slow") | {"url": f"{stage.model_url}/tools/count?delay_ms=2000"},
            stage.tool("fast") | {"url": f"{stage.model_url}/tools/count?delay_ms=1900"},
        ],
    )
    started = time.monotonic()
    async with stage.worker():
        ended = await stage.ended(await stage.post(agent))
        assert time.monotonic() - started < 3.9  # One after the other.
    assert ended.events == ["started", *["tool_call"] * 3, *["tool_result"] * 3, "delta"]
    assert [data["name"] for data in ended.data("tool_call")] == ["slow", "fast", "missing"]
    results = ended.data("tool_result")
    assert [(data["name"], data["status"]) for data in results] == [
        ("slow", "ok"),
        ("fast", "ok"),
        ("missing", "error"),
    ]
    assert results[0]["durationMs"] >= 2000
    assert results[2]["result"] == "There is no such tool."
    output = ended.turn.output
    assert [message.role for message in output] == ["assistant", "tool", "tool", "tool", "assistant"]
    assert [message.tool_call_id for message in output[1:4]] == [call.id for call in output[0].tool_calls or ()]
    assert output[1].content == results[0]["result"]


async def test_arguments_that_do_not_fit_never_reach_the_tool(stage: Stage) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    agent = stage.agent('scripted/tokens=4,tool=count:{"n":"one"}', tools=[stage.tool(parameters=schema)])
    async with stage.worker():
        ended = await stage.ended(await stage.post(agent))
    assert ended.data("tool_result")[0]["status"] == "error"
    assert "not of type 'integer'" in ended.data("tool_result")[0]["result"]
    assert ended.turn.status == "completed"
    assert await counted(stage) == []


async def test_a_model_that_calls_tools_for_ever_is_stopped(stage: Stage) -> None:
    agent = stage.agent(
        "scripted/tokens=4,tool=count:{},rounds=10000", tools=[stage.tool()], limits={"max_model_calls": 3}
    )
    async with stage.worker():
        ended = await stage.ended(await stage.post(agent))
    assert len(await counted(stage)) == 3
    assert ended.turn.status == "completed"
    assert ended.turn.output[-1].content
    assert (await model_stats(stage))["requests"] == 4


async def test_a_tool_at_a_private_address_is_refused(stage: Stage) -> None:
    agent = stage.agent("scripted/tokens=4,tool=count:{}", tools=[stage.tool()])
    policy = OutgoingPolicy(ports=frozenset({int(stage.model_url.rpartition(":")[2])}))
    async with stage.worker(policy=policy):
        ended = await stage.ended(await stage.post(agent))
    assert ended.data("tool_result")[0]["result"] == "The tool failed. The address is not allowed: it is not public."
    assert await counted(stage) == []


async def test_a_callers_tool_is_handed_to_the_caller(stage: Stage) -> None:
    completion = CompletionRequest.model_validate({"tools": [{"function": {"name": "book", "parameters": {}}}]})
    async with stage.worker():
        ended = await stage.ended(
            await stage.post(stage.agent('scripted/tool=book:{"at":9}'), more={"completion": completion})
        )
    assert ended.events == ["started"]
    assert ended.turn.finish_reason == "tool_calls"
    assert [(call.name, call.arguments) for call in ended.turn.output[0].tool_calls or ()] == [("book", '{"at":9}')]


# --- tools that must not run twice


async def test_a_never_retry_call_is_recorded_before_it_is_made(stage: Stage) -> None:
    agent = stage.agent('scripted/tokens=4,tool=count:{"n":1}', tools=[stage.tool(retry="never")])
    async with stage.worker():
        job = await stage.post(agent)
        await stage.ended(job)
    calls = await counted(stage)
    assert [call["idempotencyKey"] for call in calls] == stage.history.turns[job.turn_id].started
    assert calls[0]["idempotencyKey"].startswith(f"{job.turn_id}:")


async def test_a_never_retry_call_of_a_lost_attempt_is_not_made_again(stage: Stage) -> None:
    agent = stage.agent(
        "scripted/tokens=4,tool=count:{}", tools=[stage.tool(query="?delay_ms=60000", retry="never", timeoutS=60)]
    )
    async with stage.worker():
        job = await stage.post(agent)
        await eventually(lambda: bool(stage.history.turns[job.turn_id].started))

        async def was_called() -> bool:
            return len(await counted(stage)) == 1

        await eventually(was_called)
        await stage.lose(job)
        ended = await stage.ended(job)
    assert len(await counted(stage)) == 1
    assert ended.turn.attempt == 2
    assert ended.turn.status == "failed"
    assert ended.turn.error is not None
    assert (ended.turn.error["code"], ended.turn.error["retryable"]) == ("turn_failed", False)
    assert "must not run twice" in ended.turn.error["detail"]
    assert ended.turn.output[-1].role == "tool"


async def test_a_safe_call_of_a_lost_attempt_is_made_again_under_the_same_key(stage: Stage) -> None:
    agent = stage.agent('scripted/tokens=100,delay=20,tool=count:{"n":1}', tools=[stage.tool()])
    async with stage.worker():
        job = await stage.post(agent)
        await stage.shows(job, "delta")
        await stage.lose(job)
        ended = await stage.ended(job)
    keys = [call["idempotencyKey"] for call in await counted(stage)]
    assert len(keys) == 2
    assert len(set(keys)) == 1
    assert ended.turn.attempt == 2


# --- faults of the model


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


async def test_a_turn_cancelled_before_its_attempt_began_says_nothing_and_lets_go_of_the_model(stage: Stage) -> None:
    async with stage.worker():
        ended = await stage.ended(
            await stage.post(stage.agent("scripted/tokens=2000,delay=20,text=echo"), cancel_requested=True)
        )

        async def is_let_go() -> bool:
            return (await model_stats(stage))["active"] == 0

        await eventually(is_let_go, within_s=2.0)
    assert (ended.turn.status, ended.turn.output, ended.events) == ("cancelled", (), ["started"])


# --- claim, drain, take-over


async def test_a_turn_with_nothing_to_do_is_dropped(stage: Stage) -> None:
    async with stage.worker():
        job = await stage.post(stage.agent(), terminal=True)

        async def is_gone() -> bool:
            return await stage.queue.missing([job.turn_id]) == [job.turn_id]

        await eventually(is_gone)
    assert await stage.frames(job) == []


async def test_a_turn_that_history_does_not_know_is_dropped(stage: Stage) -> None:
    job = await stage.post(stage.agent())
    del stage.history.turns[job.turn_id]
    async with stage.worker():

        async def is_gone() -> bool:
            return await stage.queue.missing([job.turn_id]) == [job.turn_id]

        await eventually(is_gone)


async def test_a_turn_waits_for_history_to_come_back(stage: Stage) -> None:
    stage.history.away = True
    async with stage.worker():
        job = await stage.post(stage.agent())

        async def is_requeued() -> bool:
            return await stage.queue.position(job.turn_id) is not None

        await eventually(is_requeued)
        stage.history.away = False
        ended = await stage.ended(job)
    assert ended.turn.status == "completed"


async def test_an_agent_waits_for_its_knowledge_rather_than_answer_without(stage: Stage) -> None:
    stage.history.shelf = [Passage(source_id="src_1", title="Delivery", text="We deliver to 80202.")]
    calls = 0
    plain = stage.history.passages

    async def passages(workspace: str, agent_id: str, number: int) -> list[Passage]:
        nonlocal calls
        await eventually(lambda: is_started(stage))  # What is away here is away for knowledge only.
        calls += 1
        stage.history.away = calls < 3
        return await plain(workspace, agent_id, number)

    stage.history.passages = passages  # type: ignore[method-assign]
    async with stage.worker():
        ended = await stage.ended(await stage.post(stage.agent("demo/extractive"), "Do you deliver to 80202?"))
    assert calls == 3
    assert ended.data("kb_retrieval")[0]["passages"]


async def is_started(stage: Stage) -> bool:
    return all(turn.attempt for turn in stage.history.turns.values())


async def test_the_model_is_asked_while_its_attempt_is_written_down_and_nobody_hears_of_it(stage: Stage) -> None:
    stage.history.undecided = asyncio.Event()
    async with stage.worker():
        job = await stage.post(stage.agent())

        async def is_asked() -> bool:
            return (await model_stats(stage))["requests"] == 1

        await eventually(is_asked)
        assert (await stage.frames(job), await is_started(stage)) == ([], False)
        stage.history.undecided.set()
        ended = await stage.ended(job)
    assert ended.events == ["started", "delta"]
    assert ended.text == ended.turn.output[0].content == scripted_answer("Hello?", 8)


async def test_what_is_known_before_the_attempt_has_begun_is_told_after_it(stage: Stage) -> None:
    stage.history.shelf = [Passage(source_id="src_1", title="Delivery", text="We deliver to 80202.")]
    stage.history.undecided, looked_up = asyncio.Event(), asyncio.Event()
    plain = stage.history.passages

    async def passages(workspace: str, agent_id: str, number: int) -> list[Passage]:
        looked_up.set()
        return await plain(workspace, agent_id, number)

    stage.history.passages = passages  # type: ignore[method-assign]
    async with stage.worker():
        job = await stage.post(stage.agent("demo/extractive"), "Do you deliver to 80202?")
        await eventually(looked_up.is_set)
        # A second turn is through with its passages, which are in memory by now.
        other = await stage.post(stage.agent("demo/extractive"), "Do you deliver to 80202?")
        await eventually(lambda: len(stage.history.claims_seen) == 2)
        assert (await stage.frames(job), await stage.frames(other)) == ([], [])
        stage.history.undecided.set()
        for one in (job, other):
            assert (await stage.ended(one)).events == ["started", "kb_retrieval", "delta"]


async def test_an_attempt_that_is_refused_leaves_no_trace_and_stops_the_model(stage: Stage) -> None:
    stage.history.undecided, stage.history.refuses = asyncio.Event(), True
    async with stage.worker():
        job = await stage.post(stage.agent("scripted/tokens=2000,delay=20,text=echo"))

        async def asked_and_running() -> list[int]:
            stats = await model_stats(stage)
            return [stats["requests"], stats["active"]]

        async def is_asked() -> bool:
            return await asked_and_running() == [1, 1]

        await eventually(is_asked)
        refused = len(stage.history.claims_seen)
        stage.history.turns[job.turn_id].terminal = True  # As when it was cancelled meanwhile.
        stage.history.undecided.set()

        async def is_over() -> bool:
            return await stage.queue.missing([job.turn_id]) == [job.turn_id] and await asked_and_running() == [1, 0]

        await eventually(is_over, within_s=2.0)
    assert (refused, len(stage.history.claims_seen)) == (1, 2)
    assert (await stage.frames(job), await stage.outbox()) == ([], {})


async def test_a_brief_saves_the_claim_where_the_agent_is_known(stage: Stage) -> None:
    earlier = TurnMessage(id=new_id("msg"), role="user", content="I live in Wien.", created_at=datetime.now(UTC))
    async with stage.worker():
        unknown = await stage.ended(await stage.post(stage.agent(), "One?", with_snapshot=True))
        asked = len(stage.history.claims_seen)
        known = await stage.ended(await stage.post(stage.agent(), "Two?", with_snapshot=True, context=(earlier,)))
    assert asked == len(stage.history.claims_seen) == 1, "the first one asked for the agent"
    assert (unknown.turn.attempt, known.turn.attempt) == (1, 1)
    assert [begin.admitted_at is not None for begin in stage.history.starts_seen] == [False, True], (
        "only a brief says so"
    )
    async with aiohttp.ClientSession() as session, session.get(f"{stage.model_url}/requests") as response:
        sent = (await response.json())[-1]["messages"]
    assert [message["content"] for message in sent] == ["Be kind.", "I live in Wien.\n\nTwo?"]


async def test_a_brief_that_is_out_of_date_is_refused_and_history_asked(stage: Stage) -> None:
    async with stage.worker():
        await stage.ended(await stage.post(stage.agent()))
        asked = len(stage.history.claims_seen)
        # As when the gateway's order comes late: the sweep's has led to an attempt already, whose worker died.
        ended = await stage.ended(await stage.post(stage.agent(), with_snapshot=True, attempt=1))
    assert len(stage.history.claims_seen) == asked + 1
    assert (ended.turn.attempt, ended.events) == (2, ["restarted", "started", "delta"])


async def test_a_history_that_is_lost_before_the_attempt_has_begun_costs_only_time(stage: Stage) -> None:
    plain, failed = stage.history.start_attempt, 0

    async def start_attempt(workspace: str, turn_id: str, begin: StartAttempt) -> StartedAttempt:
        nonlocal failed
        failed += 1
        if failed == 1:
            raise ApiError(Code.DEPENDENCY_UNAVAILABLE)
        return await plain(workspace, turn_id, begin)

    stage.history.start_attempt = start_attempt  # type: ignore[method-assign]
    async with stage.worker():
        ended = await stage.ended(await stage.post(stage.agent()))
    assert (failed, ended.turn.attempt, ended.events) == (2, 1, ["started", "delta"])


async def test_a_draining_worker_hands_back_without_using_up_a_try(stage: Stage) -> None:
    async with stage.worker(drain_s=0.2) as stop:
        job = await stage.post(stage.agent("scripted/tokens=60,delay=20,text=echo"))
        await stage.shows(job, "delta")
        stop.set()

        async def is_requeued() -> bool:
            return await stage.queue.position(job.turn_id) == 0

        await eventually(is_requeued, within_s=2.0)
    turn = stage.history.turns[job.turn_id]
    assert (turn.tries, stage.history.released) == (0, [1])
    assert await stage.outbox() == {}
    async with stage.worker():
        ended = await stage.ended(job)
    assert ended.turn.attempt == 2
    assert ended.events == ["started", "delta", "restarted", "started", "delta"]
    assert ended.data("restarted") == [{"attempt": 2, "reason": "worker_lost"}]
    assert ended.text == ended.turn.output[0].content == scripted_answer("Hello?", 60)


async def test_a_draining_worker_finishes_what_ends_in_time(stage: Stage) -> None:
    async with stage.worker(drain_s=10) as stop:
        job = await stage.post(stage.agent("scripted/tokens=20,delay=20,text=echo"))
        await stage.shows(job, "delta")
        stop.set()
        ended = await stage.ended(job)
    assert (ended.turn.attempt, ended.turn.status) == (1, "completed")


async def test_a_worker_that_lost_its_lease_writes_nothing_more(stage: Stage) -> None:
    async with stage.worker():
        job = await stage.post(stage.agent("scripted/tokens=60,delay=20,text=echo"))
        await stage.shows(job, "delta")
        await cast("Awaitable[int]", stage.queue.hset(f"{QUEUE}:leases", job.turn_id, "another"))

        async def is_let_go() -> bool:
            return (await model_stats(stage))["active"] == 0

        await eventually(is_let_go)
        seen = await stage.logs.tail(job.workspace, job.turn_id)
        assert await stage.outbox() == {}
        assert await stage.logs.tail(job.workspace, job.turn_id) == seen


async def test_a_worker_fenced_by_the_log_stops_its_model_and_finishes_nothing(stage: Stage) -> None:
    async with stage.worker():
        job = await stage.post(stage.agent(SLOW))
        await stage.shows(job, "delta")
        # History has ended the turn under a higher attempt, as a sweep does.
        stage.history.turns[job.turn_id].terminal = True
        await stage.logs.append_terminal(job.workspace, job.turn_id, FrameId(2, 1), "error", {})

        async def is_let_go() -> bool:
            return (await model_stats(stage))["active"] == 0

        await eventually(is_let_go, within_s=2.0)

        async def is_gone() -> bool:
            return await stage.queue.missing([job.turn_id]) == [job.turn_id]

        await eventually(is_gone)
    assert await stage.outbox() == {}
    assert await stage.logs.tail(job.workspace, job.turn_id) == FrameId(2, 1)


async def test_a_flushed_redis_costs_nothing_that_was_said(stage: Stage) -> None:
    async with stage.worker():
        job = await stage.post(stage.agent("scripted/tokens=60,delay=20,text=echo"))
        await stage.shows(job, "delta")
        await stage.queue.flushall()
        ended = await stage.ended(job)
    assert ended.text == ended.turn.output[0].content == scripted_answer("Hello?", 60)
    assert (await stage.logs.read(job.workspace, job.turn_id, BEGINNING))[0][0] == FrameId(1, 1)
