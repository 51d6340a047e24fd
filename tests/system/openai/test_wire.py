"""Each trap of the clients, looked for in the bytes: what an SDK would choke on must not be there."""

import asyncio
import os
import re
import signal
import time
from typing import Any

import pytest

from deploy.demo.scripted import scripted_answer
from tests.system.openai.conftest import Received
from tests.system.openai.wire import asking, function, streaming
from tests.system.stack import Client, Stack

ECHO = "scripted/tokens=12,delay=1,text=echo"


async def test_a_stream_is_data_lines_only_with_one_head_on_every_chunk(stack: Stack, client: Client) -> None:
    agent_id = await stack.publish(ECHO)
    async with streaming(client, agent_id, "question 3") as wire:
        headers = wire.answer.headers
        await wire.read()
    assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert (headers["Cache-Control"], headers["X-Accel-Buffering"]) == ("no-cache, no-transform", "no")
    assert headers["x-request-id"].startswith("req_")
    # No `id:`, `event:` or `retry:` and no empty data: each of them makes one SDK or another fail at the next ping.
    assert all(re.fullmatch(r"data: (\{.*\}|\[DONE\])|: ping", block) for block in wire.blocks)
    assert wire.blocks[-1] == "data: [DONE]"
    assert wire.blocks.count("data: [DONE]") == 1
    chunks = wire.chunks
    heads = {
        (chunk["id"], chunk["object"], chunk["created"], chunk["model"], chunk["system_fingerprint"])
        for chunk in chunks
    }
    assert [(name[:9], kind, type(at), model, mark) for name, kind, at, model, mark in heads] == [
        ("chatcmpl-", "chat.completion.chunk", int, agent_id, "fp_1")
    ]
    choices = [chunk["choices"] for chunk in chunks]
    assert all(len(choice) == 1 and choice[0]["index"] == 0 and "finish_reason" in choice[0] for choice in choices)
    assert choices[0][0]["delta"] == {"role": "assistant", "content": ""}
    assert {choice[0]["delta"].get("role") for choice in choices[1:]} == {None}
    assert [choice[0]["finish_reason"] for choice in choices] == [None] * (len(choices) - 1) + ["stop"]
    assert choices[-1][0]["delta"] == {}
    assert wire.text == scripted_answer("question 3", 12)
    assert not any("usage" in chunk for chunk in chunks)


@pytest.mark.parametrize("usage", ["full", "none"])
async def test_usage_is_one_whole_chunk_after_the_end_if_it_is_asked_for(
    stack: Stack, client: Client, usage: str
) -> None:
    agent_id = await stack.publish(f"{ECHO},usage={usage}")
    async with streaming(client, agent_id, stream_options={"include_usage": True}) as wire:
        await wire.read()
    *before, last = wire.chunks
    assert all(chunk["usage"] is None for chunk in before)
    assert last["choices"] == []
    told = last["usage"]
    assert told["prompt_tokens"] + told["completion_tokens"] == told["total_tokens"] > 0
    assert set(told["prompt_tokens_details"]) == {"cached_tokens"}
    assert set(told["completion_tokens_details"]) == {"reasoning_tokens"}
    assert told.get("estimated", False) is (usage == "none")
    if usage == "full":
        assert told["prompt_tokens_details"]["cached_tokens"] > 0
        assert told["completion_tokens_details"]["reasoning_tokens"] > 0
    status, whole = await client.call("POST", "/chat/completions", asking(agent_id))
    assert (status, whole["usage"]) == (200, told)


async def test_a_silent_model_is_bridged_by_comments_every_five_seconds(stack: Stack, client: Client) -> None:
    agent_id = await stack.publish("scripted/tokens=3,first=12000")
    async with streaming(client, agent_id) as wire:
        await wire.read()
    gaps = [later - before for before, later in zip(wire.times, wire.times[1:], strict=False)]
    # The promise is 5 s. The shortest read timer of a client is 10 s, and without pings there would be a gap of 12 s.
    assert max([wire.times[0], *gaps]) < 9.5, wire.times
    assert wire.blocks.count(": ping") >= 2
    assert wire.blocks[-1] == "data: [DONE]"


async def test_the_first_bytes_wait_for_no_worker(stack: Stack, client: Client) -> None:
    agent_id = await stack.publish(ECHO)
    workers = stack.facts["pids"]["worker"]
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(20), streaming(client, agent_id) as wire:
            assert '"role":"assistant"' in await wire.next_block()
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)


async def test_each_call_of_a_callers_tool_is_told_once_and_the_agents_own_never(stack: Stack, client: Client) -> None:
    agent_id = await stack.publish('scripted/tool=weather:{"city":"Rome"},tool=time:{"city":"Oslo"}')
    async with streaming(client, agent_id, tools=[function("weather"), function("time")]) as wire:
        await wire.read()
    choices = [chunk["choices"][0] for chunk in wire.chunks]
    parts = [choice["delta"]["tool_calls"] for choice in choices if "tool_calls" in choice["delta"]]
    assert all(len(part) == 1 for part in parts)  # Pipecat reads only the first.
    assert [part[0]["index"] for part in parts] == [0, 0, 1, 1]
    opening, following = [part[0] for part in parts[::2]], [part[0] for part in parts[1::2]]
    assert [(call["type"], call["function"]) for call in opening] == [
        ("function", {"name": "weather", "arguments": ""}),
        ("function", {"name": "time", "arguments": ""}),
    ]
    assert len({call["id"] for call in opening}) == 2
    assert [set(call) for call in following] == [{"index", "function"}] * 2
    assert [call["function"] for call in following] == [
        {"arguments": '{"city":"Rome"}'},
        {"arguments": '{"city":"Oslo"}'},
    ]
    assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == ["tool_calls"]
    async with streaming(client, stack.facts["agentId"], "Where is order 1042?") as wire:
        await wire.read()
    assert "tool_calls" not in "".join(wire.blocks)
    assert "1042" in wire.text
    assert wire.chunks[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("fault", ["cut", "error_chunk", "nofinish"])
async def test_a_failure_after_text_is_an_error_chunk_and_then_a_broken_connection(
    stack: Stack, client: Client, fault: str
) -> None:
    agent_id = await stack.publish(f"scripted/tokens=40,delay=5,fail={fault},after=20")
    async with streaming(client, agent_id) as wire:
        await wire.read()
    assert wire.text
    assert set(wire.chunks[-1]) == {"error"}
    assert set(wire.chunks[-1]["error"]) == {"message", "type", "param", "code"}
    assert wire.chunks[-1]["error"]["message"]
    assert wire.broken
    assert "data: [DONE]" not in wire.blocks
    assert all(not chunk["choices"][0]["finish_reason"] for chunk in wire.chunks[:-1])


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"n": 2}, "n"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "messages[0].content",
        ),
    ],
)
async def test_what_cannot_be_done_is_refused_by_name(
    stack: Stack, client: Client, more: dict[str, Any], param: str
) -> None:
    status, body = await client.call("POST", "/chat/completions", asking(stack.facts["agentId"]) | more)
    assert (status, body["error"]["param"]) == (400, param)
    assert {"type", "title", "status", "detail", "code", "instance", "error"} <= set(body)
    assert set(body["error"]) == {"message", "type", "param", "code"}


async def test_every_documented_member_is_taken_and_what_was_ignored_is_named(
    stack: Stack, client: Client, received: Received
) -> None:
    agent_id = await stack.publish(ECHO, instructions="Be kind.")
    passed: dict[str, Any] = {
        "temperature": 0.5, "top_p": 0.9, "max_completion_tokens": 99, "stop": ["END"], "seed": 7,
        "frequency_penalty": 0.1, "presence_penalty": 0.2, "response_format": {"type": "json_object"},
        "reasoning_effort": "low", "logit_bias": {"5": 1},
        "parallel_tool_calls": False, "verbosity": "low",
    }  # fmt: skip
    ignored = {
        "service_tier": "auto",
        "logprobs": True,
        "top_logprobs": 2,
        "prompt_cache_key": "k",
    }
    question = "members of every kind"
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "first", "name": "ann"},
        {"role": "assistant", "content": None, "tool_calls": [_call("c1"), _call("c2")]},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "sunny"}]},
        {"role": "tool", "tool_call_id": "c2", "content": "windy"},
        {"role": "assistant", "content": "Sunny and windy."},
        {"role": "user", "content": [{"type": "text", "text": question}]},
    ]
    body = {
        "model": agent_id,
        "messages": messages,
        "n": 1,
        "modalities": ["text"],
        "frobnicate": 1,
        "user": "u",
        "safety_identifier": "s",
        **passed,
        **ignored,
    }
    body["tools"] = [function("weather")]  # Without tools, `parallel_tool_calls` is refused by models.
    async with client.request(
        "POST", "/chat/completions", body, **{"OpenAI-Organization": "o", "X-Stainless-Lang": "python"}
    ) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.headers["x-parley-ignored"].split(", ") == sorted([*ignored, "frobnicate"])
    (sent,) = await received(question)
    assert {name: sent.get(name) for name in passed} == passed
    assert not set(ignored) & set(sent)
    assert sent["messages"] == [
        {"role": "system", "content": "Be kind.\n\nBe brief."},
        {"role": "user", "content": "first", "name": "ann"},
        {"role": "assistant", "content": None, "tool_calls": [_call("c1"), _call("c2")]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "c2", "content": "windy"},
        {"role": "assistant", "content": "Sunny and windy."},
        {"role": "user", "content": question},
    ]


def _call(call_id: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}


async def test_a_stream_resumes_after_any_chunk_and_is_cancelled_by_name(stack: Stack, client: Client) -> None:
    agent_id = await stack.publish("scripted/tokens=400,delay=20,text=echo")
    async with streaming(client, agent_id, store=True) as wire:
        while len(wire.text) < 30:
            await wire.next_block()
    name, cursor = wire.chunks[-1]["id"], wire.chunks[-1]["parley"]["cursor"]
    path = f"/chat/completions/{name}"
    async with client.request("GET", f"{path}?stream=true&starting_after={cursor}") as answer:
        assert answer.status == 200
        again = type(wire)(answer, time.monotonic())
        reading = asyncio.create_task(again.read())
        status, body = await client.call("POST", f"{path}/cancel")
        assert (status, body["id"]) == (200, name)
        await reading
    assert again.blocks[-1] == "data: [DONE]"
    expected = scripted_answer("hello", 400)
    whole = wire.text + again.text
    assert expected.startswith(whole)
    assert len(whole) < len(expected)
    status, stored = await client.call("GET", path)
    assert (status, stored["choices"][0]["message"]["content"]) == (200, whole)


async def test_messages_that_strict_templates_refuse_reach_the_model_in_a_valid_order(
    stack: Stack, client: Client, received: Received
) -> None:
    agent_id = await stack.publish(ECHO, instructions="Be kind.")
    question = "an odd order of messages"
    messages = [
        {"role": "user", "content": "first", "name": "Ann Lee"},
        {"role": "assistant", "content": None, "tool_calls": [_call("c" * 1000)]},
        {"role": "user", "content": "still there?"},
        {"role": "tool", "tool_call_id": "c" * 1000, "content": "sunny"},
        {"role": "assistant", "content": ""},
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": question},
    ]
    body = {"model": agent_id, "messages": messages, "metadata": {"call": {"from": "+43"}, "n": 1}}
    async with client.request("POST", "/chat/completions", body) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.headers["x-parley-ignored"] == "metadata"
    (sent,) = await received(f"still there?\n\n{question}")
    assert sent["messages"] == [
        {"role": "system", "content": "Be kind.\n\nBe brief."},
        {"role": "user", "content": "first", "name": "Ann_Lee"},
        {"role": "assistant", "content": None, "tool_calls": [_call("c" * 1000)]},
        {"role": "tool", "tool_call_id": "c" * 1000, "content": "sunny"},
        {"role": "assistant", "content": "(No answer was given.)"},
        {"role": "user", "content": f"still there?\n\n{question}"},
    ]
