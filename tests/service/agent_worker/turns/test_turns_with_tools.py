"""Turns with knowledge and tools, also with tools that must not run twice."""

import time

from prometheus_client import REGISTRY

from shared.contracts.agents import Passage
from shared.contracts.turns import CompletionRequest
from shared.web.guard_rules import OutgoingPolicy
from tests.conftest import eventually
from tests.service.agent_worker.stage import Stage, counted, model_stats


async def test_passages_are_retrieved_reported_given_to_the_model_and_kept(stage: Stage) -> None:
    stage.history.shelf = [
        Passage(
            id="psg_1",
            source_id="src_1",
            title="Delivery",
            text="We deliver to 80202.",
            heading="Area > Denver",
            url="https://example.com/area",
            page=3,
        ),
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
    place = {"sourceId": "src_1", "title": "Delivery", "heading": "Area > Denver", "page": 3}
    named = {"id": "psg_1", **place, "url": "https://example.com/area"}
    assert told["passages"][0].items() >= {**named, "marker": 1}.items()
    assert ended.text == "We deliver to 80202. [1]"
    citations = [citation.wire() for citation in ended.turn.output[0].citations or ()]
    assert citations == [{"marker": 1, "start": 21, "end": 24, "passage": named}]


async def test_a_marker_that_names_nothing_is_neither_streamed_nor_stored(stage: Stage) -> None:
    stage.history.shelf = [Passage(source_id="src_1", title="Hello", text="Hello is said at nine [7].")]
    async with stage.worker():
        cited = await stage.ended(await stage.post(stage.agent("demo/extractive"), "What is said at nine?"))
        plain = stage.agent("demo/extractive", knowledge={"citations": False})
        uncited = await stage.ended(await stage.post(plain, "What is said at nine?", number=2))
    assert cited.text == cited.turn.output[0].content == "Hello is said at nine . [1]"
    assert uncited.text == uncited.turn.output[0].content == "Hello is said at nine [7]."
    assert uncited.turn.output[0].citations is None


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
        taken_over = REGISTRY.get_sample_value("parley_turns_taken_over_total") or 0.0
        await stage.lose(job)
        ended = await stage.ended(job)
    assert REGISTRY.get_sample_value("parley_turns_taken_over_total") == taken_over + 1
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
