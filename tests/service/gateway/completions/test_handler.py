import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import openai
import orjson
import pytest

from services.gateway.streaming.follower import LOG_PAGE
from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import Scope
from shared.contracts.sessions import ToolCall
from tests.conftest import eventually
from tests.service.gateway.fakes import Stage, said, stage
from tests.service.gateway.reading import blocks, chunk_of, next_block

HELLO = [{"role": "user", "content": "hi"}]


@asynccontextmanager
async def streaming(
    gateway: Stage, headers: dict[str, str] | None = None, **more: Any
) -> AsyncIterator[aiohttp.ClientResponse]:
    body = {"model": gateway.agent_id, "messages": HELLO, "stream": True, **more}
    async with gateway.client.post(gateway.url("/chat/completions"), json=body, headers=headers) as response:
        assert response.status == 200, await response.text()
        yield response


async def completed(gateway: Stage, *pieces: str, **more: Any) -> list[str]:
    """The blocks of a stream whose turn writes these pieces."""
    async with streaming(gateway, **more) as response:
        await gateway.answer(await gateway.admitted(), *pieces)
        return await blocks(response)


async def test_stream_has_openais_chunks_and_no_other_lines(gateway: Stage) -> None:
    told = await completed(gateway, "On ", "its way\u2028🍕")
    assert told[-1] == "data: [DONE]"
    assert all(block.startswith(("data: {", ": ping")) for block in told[:-1])
    chunks = [chunk_of(block) for block in told[:-1] if not block.startswith(":")]
    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [
        {"role": "assistant", "content": ""},
        {"content": "On "},
        {"content": "its way\u2028🍕"},
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, None, "stop"]
    assert len({(chunk["id"], chunk["object"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    assert chunks[0]["model"] == gateway.agent_id
    assert [chunk.get("parley", {}).get("cursor") for chunk in chunks] == [None, "1-2", "1-3", "1-4"]
    assert all("usage" not in chunk for chunk in chunks)


async def test_usage_is_one_chunk_after_the_end_and_only_when_asked_for(gateway: Stage) -> None:
    told = await completed(gateway, "Yes.", stream_options={"include_usage": True})
    chunks = [chunk_of(block) for block in told[:-1] if not block.startswith(":")]
    assert [chunk["usage"] is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1]["choices"] == []
    assert len({(chunk["id"], chunk["object"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    assert chunks[-1]["usage"] == {
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "total_tokens": 10,
        "prompt_tokens_details": {"cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


async def test_the_role_chunk_does_not_wait_for_a_worker(gateway: Stage) -> None:
    async with streaming(gateway) as response:
        first = chunk_of(await next_block(response))
        assert first["choices"][0]["delta"]["role"] == "assistant"
        await gateway.answer(await gateway.admitted(), "Yes.")
        await blocks(response)


async def test_without_streaming_the_same_text_comes_whole(gateway: Stage) -> None:
    post = asyncio.create_task(_post(gateway, {"model": gateway.agent_id, "messages": HELLO}))
    await gateway.answer(await gateway.admitted(), "On ", "its way.")
    status, _, body = await post
    assert status == 200
    assert "success" not in body
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "On its way.", "refusal": None}
    assert body["usage"]["total_tokens"] == 10


async def test_callers_tools_come_back_by_index_with_their_names_once(gateway: Stage) -> None:
    tools = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in ("a", "b")]
    async with streaming(gateway, tools=tools) as response:
        turn_id = await gateway.admitted()
        writer = gateway.turn_writer(turn_id)
        writer.frame("tool_call", {"toolCallId": "call_0", "name": "server_side", "arguments": {}})
        await writer.flush()
        calls = [ToolCall(id="call_1", name="a", arguments='{"x":1}'), ToolCall(id="call_2", name="b", arguments="{}")]
        await gateway.history.finish(turn_id, 2, [said("", calls)], finish_reason="tool_calls")
        told = await blocks(response)
    assert not any("server_side" in block for block in told)
    chunks = [chunk_of(block)["choices"][0] for block in told[:-1] if not block.startswith(":")]
    dependencies = [chunk["delta"]["tool_calls"] for chunk in chunks if "tool_calls" in chunk["delta"]]
    assert all(len(part) == 1 for part in dependencies)
    assert [part[0]["index"] for part in dependencies] == [0, 0, 1, 1]
    assert [part[0]["function"].get("name") for part in dependencies] == ["a", None, "b", None]
    assert "".join(part[0]["function"]["arguments"] for part in dependencies) == '{"x":1}{}'
    assert chunks[-1]["finish_reason"] == "tool_calls"


async def test_a_failure_after_text_is_an_error_chunk_and_a_broken_connection(gateway: Stage) -> None:
    async with streaming(gateway) as response:
        turn_id = await gateway.admitted()
        writer = gateway.turn_writer(turn_id)
        writer.delta("half")
        await writer.flush()
        await next_block(response)
        await next_block(response)
        await gateway.history.finish(turn_id, 2, [], status="failed", error=ApiError(Code.UPSTREAM_ERROR).problem())
        error = chunk_of(await next_block(response))
        assert set(error) == {"error"}
        assert error["error"]["code"] == "upstream_error"
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.content.read()


async def test_a_restart_before_any_text_is_invisible(gateway: Stage) -> None:
    async with streaming(gateway) as response:
        turn_id = await gateway.admitted()
        first, second = gateway.turn_writer(turn_id), gateway.turn_writer(turn_id, 2)
        first.frame("started", {"attempt": 1})
        await first.flush()
        second.frame("restarted", {"attempt": 2, "reason": "worker_lost"})
        second.delta("whole")
        await second.flush()
        await gateway.history.finish(turn_id, 3, [said("whole")], attempt=2)
        told = await blocks(response)
    assert told[-1] == "data: [DONE]"
    assert (
        "".join(chunk_of(block)["choices"][0]["delta"].get("content", "") for block in told[:-1] if block[0] != ":")
        == "whole"
    )


async def test_a_restart_after_text_is_an_error_that_no_sdk_takes_for_an_answer(gateway: Stage) -> None:
    async with streaming(gateway) as response:
        turn_id = await gateway.admitted()
        first, second = gateway.turn_writer(turn_id), gateway.turn_writer(turn_id, 2)
        first.delta("half")
        await first.flush()
        await next_block(response)
        await next_block(response)
        second.frame("restarted", {"attempt": 2, "reason": "worker_lost"})
        await second.flush()
        assert "error" in chunk_of(await next_block(response))
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.content.read()


async def test_a_repeated_key_with_a_cursor_continues_after_it_and_always_gets_the_end(gateway: Stage) -> None:
    async with streaming(gateway, {"Idempotency-Key": "k"}) as first:
        turn_id = await gateway.admitted()
        writer = gateway.turn_writer(turn_id)
        for piece in ("One ", "two ", "three."):
            writer.delta(piece)
            await writer.flush()
        await next_block(first)
        assert chunk_of(await next_block(first))["parley"]["cursor"] == "1-1"
    headers = {"Idempotency-Key": "k", "Last-Event-ID": "1-1"}
    async with streaming(gateway, headers) as running:
        await gateway.history.finish(turn_id, writer.last_seq + 1, [said("One two three.")])
        assert _text(await blocks(running)) == "two three."
    async with streaming(gateway, headers) as ended:
        assert _text(await blocks(ended)) == "two three."
    for last in ("1-4", "1-9"):
        async with streaming(gateway, {**headers, "Last-Event-ID": last}) as complete:
            assert complete.status == 200
            told = await blocks(complete)
        assert (_text(told), told[-1]) == ("", "data: [DONE]")
    assert len(gateway.history.turns) == 1


def _text(told: list[str]) -> str:
    chunks = [chunk_of(block) for block in told if block.startswith("data: {")]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


async def test_who_comes_after_a_restart_gets_the_answer_however_long_the_lost_one_was(gateway: Stage) -> None:
    headers = {"Idempotency-Key": "k"}
    async with streaming(gateway, headers) as early:
        turn_id = await gateway.admitted()
        first, second = gateway.turn_writer(turn_id), gateway.turn_writer(turn_id, 2)
        for number in range(3 * LOG_PAGE):
            first.frame("delta", {"text": f"lost {number} "})
        await first.flush()
        name = chunk_of(await next_block(early))["id"]
        # A stream that has sent nothing of the lost attempt when it ends would not be broken off.
        assert chunk_of(await next_block(early))["choices"][0]["delta"]["content"].startswith("lost")
        second.frame("restarted", {"attempt": 2, "reason": "worker_lost"})
        second.delta("kept")
        await second.flush()
        with pytest.raises(aiohttp.ClientPayloadError):
            await early.content.read()
    url = gateway.url(f"/chat/completions/{name}")
    async with streaming(gateway, headers) as late, gateway.client.get(url, params={"stream": "true"}) as resumed:
        for response in (late, resumed):
            texts = [chunk_of(await next_block(response))["choices"][0]["delta"]["content"] for _ in range(2)]
            assert texts == ["", "kept"]
        await gateway.history.finish(turn_id, 3, [said("kept")], attempt=2)
        assert (await blocks(late))[-1] == (await blocks(resumed))[-1] == "data: [DONE]"


async def test_who_comes_back_to_a_log_that_fills_its_pages_exactly_gets_its_text_at_once(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.gateway.streaming.hub.HEARTBEAT_S", 600.0)  # No heartbeat makes up for it.
    async with stage(redis_url) as gateway, streaming(gateway, {"Idempotency-Key": "k"}):
        turn_id = await gateway.admitted()
        turn = gateway.turn_writer(turn_id)
        for number in range(2 * LOG_PAGE):
            turn.frame("delta", {"text": f"{number} "})
        await turn.flush()
        async with asyncio.timeout(30), streaming(gateway, {"Idempotency-Key": "k"}) as late:
            texts = [
                chunk_of(await next_block(late))["choices"][0]["delta"]["content"] for _ in range(2 * LOG_PAGE + 1)
            ]
        assert texts == ["", *(f"{number} " for number in range(2 * LOG_PAGE))]


async def test_draining_breaks_a_stream_off_with_an_error(gateway: Stage) -> None:
    async with streaming(gateway) as response:
        await gateway.admitted()
        await next_block(response)
        gateway.dependencies.drain()
        assert chunk_of(await next_block(response))["error"]["code"] == "draining"
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.content.read()


@pytest.mark.parametrize("stream", [True, False])
async def test_a_caller_that_leaves_cancels_its_turn_within_a_second(gateway: Stage, stream: bool) -> None:
    body = {"model": gateway.agent_id, "messages": HELLO, "stream": stream}
    post = asyncio.create_task(_post(gateway, body))
    turn_id = await gateway.admitted()
    post.cancel()
    await eventually(lambda: gateway.history.cancelled == [turn_id], within_s=1.0, what="the cancellation")
    await eventually(lambda: gateway.dependencies.limits.held == 0)


@pytest.mark.parametrize(
    ("more", "headers"),
    [({"store": True}, {}), ({}, {"Idempotency-Key": "k"})],
    ids=["stored", "with an idempotency key"],
)
async def test_a_caller_that_can_come_back_cancels_nothing(
    gateway: Stage, more: dict[str, Any], headers: dict[str, str]
) -> None:
    post = asyncio.create_task(
        _post(gateway, {"model": gateway.agent_id, "messages": HELLO, "stream": True, **more}, headers)
    )
    turn_id = await gateway.admitted()
    post.cancel()
    await gateway.answer(turn_id, "There.")
    await eventually(lambda: gateway.dependencies.limits.held == 0)
    assert gateway.history.cancelled == []


async def test_operators_may_let_turns_outlive_their_callers(redis_url: str) -> None:
    async with stage(redis_url, cancel_on_disconnect=False) as gateway:
        post = asyncio.create_task(_post(gateway, {"model": gateway.agent_id, "messages": HELLO, "stream": True}))
        turn_id = await gateway.admitted()
        post.cancel()
        await gateway.answer(turn_id, "There.")
        await eventually(lambda: gateway.dependencies.limits.held == 0)
        assert gateway.history.cancelled == []


async def test_a_repeated_key_gets_the_ended_completion_again(gateway: Stage) -> None:
    headers = {"Idempotency-Key": "k"}
    body = {"model": gateway.agent_id, "messages": HELLO}
    post = asyncio.create_task(_post(gateway, body, headers))
    await gateway.answer(await gateway.admitted(), "Once.")
    first, again = await post, await _post(gateway, body, headers)
    assert first[2] == again[2]
    async with streaming(gateway, headers) as response:
        told = await blocks(response)
    assert told[-1] == "data: [DONE]"
    assert chunk_of(told[1])["choices"][0]["delta"] == {"content": "Once."}
    assert len(gateway.history.turns) == 1


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"n": 2}, "n"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "alloy", "format": "mp3"}}, "audio"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "messages[0].content",
        ),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "c"}]}, "messages"),
        ({"messages": "x"}, "messages"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 3}, "temperature"),
        ({"stream": "yes"}, "stream"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"tool_choice": {"type": "function", "function": {"name": "absent"}}}, "tool_choice"),
        ({"metadata": {"a": 1}, "store": True}, "metadata.a"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
    ],
)
async def test_what_cannot_be_honoured_is_refused_with_its_param(
    gateway: Stage, change: dict[str, Any], param: str
) -> None:
    status, _, body = await _post(gateway, {"model": gateway.agent_id, "messages": HELLO, **change})
    assert (status, body["code"], body["error"]["param"]) == (400, "invalid_request", param)
    assert body["error"]["message"]
    assert gateway.history.turns == {}


@pytest.mark.parametrize("model", ["gpt-4o", "agt_nonsense", "agt_" + "0" * 26])
async def test_unknown_model_is_not_found(gateway: Stage, model: str) -> None:
    status, _, body = await _post(gateway, {"model": model, "messages": HELLO})
    assert (status, body["error"]["code"], body["error"]["param"]) == (404, "model_not_found", "model")


@pytest.mark.parametrize("role", ["system", "developer", "assistant"])
async def test_messages_without_text_are_refused_before_a_turn_exists_if_the_agent_has_no_instructions(
    gateway: Stage, role: str
) -> None:
    messages = [{"role": role, "content": " "}]
    silent = gateway.history.agent(instructions=" ")
    for stream in (False, True):
        status, _, body = await _post(gateway, {"model": silent, "messages": messages, "stream": stream})
        assert (status, body["code"], body["error"]["param"]) == (400, "invalid_request", "messages")
    assert gateway.history.orders == {}
    instructed = gateway.history.agent(instructions="Say hello.")
    post = asyncio.create_task(_post(gateway, {"model": instructed, "messages": messages}))
    await gateway.answer(await gateway.admitted(), "Hello.")
    assert (await post)[0] == 200


async def test_ignored_members_are_named_and_the_rest_reaches_the_worker(gateway: Stage) -> None:
    gateway.agent_id = gateway.history.agent(caller_parameters=["temperature", "stop"])
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    body = {
        "model": gateway.agent_id,
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": "ann"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "42"},
        ],
        "temperature": 0.5,
        "stop": "END",
        "seed": 1,
        "user": "u",
        "logprobs": False,
        "service_tier": "auto",
        "frobnicate": 1,
        "bad\r\nname": 1,
    }
    post = asyncio.create_task(_post(gateway, body))
    turn_id = await gateway.admitted()
    await gateway.answer(turn_id, "ok")
    status, headers, _ = await post
    assert status == 200
    assert headers["x-parley-ignored"] == "frobnicate, seed, service_tier"
    order = gateway.history.orders[turn_id]
    assert [(message.role, message.content) for message in order.messages] == [
        ("system", "Be brief."),
        ("user", "a\nb"),
        ("assistant", None),
        ("tool", "42"),
    ]
    assert order.completion is not None
    assert order.completion.parameters == {"temperature": 0.5, "stop": "END", "seed": 1}


async def test_structured_output_is_refused_where_the_agent_does_not_allow_it(gateway: Stage) -> None:
    gateway.agent_id = gateway.history.agent(caller_parameters=["temperature"])
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    status, _, body = await _post(gateway, {"model": gateway.agent_id, "messages": HELLO, "response_format": schema})
    assert (status, body["error"]["param"]) == (400, "response_format")
    assert gateway.history.turns == {}


async def test_stored_completion_is_read_resumed_and_its_messages_are_paged(gateway: Stage) -> None:
    more = {
        "store": True,
        "metadata": {"k": "v"},
        "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
    }
    told = await completed(gateway, "One ", "two.", **more)
    chunks = [chunk_of(block) for block in told[:-1] if not block.startswith(":")]
    name = chunks[0]["id"]
    url = gateway.url(f"/chat/completions/{name}")
    async with gateway.client.get(url) as response:
        stored = await response.json()
        assert stored["choices"][0]["message"]["content"] == "One two."
        assert stored["metadata"] == {"k": "v"}
    async with gateway.client.get(url + "/messages", params={"limit": "1"}) as response:
        page = await response.json()
        assert (page["data"][0]["role"], page["has_more"]) == ("system", True)
    async with gateway.client.get(url + "/messages", params={"after": page["last_id"]}) as response:
        page = await response.json()
        assert ([message["role"] for message in page["data"]], page["has_more"]) == (["user"], False)
    for place, chunk in enumerate(chunks[1:], start=1):
        params = {"stream": "true", "starting_after": chunk["parley"]["cursor"]}
        async with gateway.client.get(url, params=params) as response:
            again = await blocks(response)
        rest = [chunk_of(block)["choices"][0] for block in again[1:-1] if not block.startswith(":")]
        assert again[-1] == "data: [DONE]"
        assert rest == [later["choices"][0] for later in chunks[place + 1 :] or chunks[-1:]]
    async with gateway.client.get(url, params={"stream": "true", "starting_after": "x"}) as response:
        assert response.status == 400


async def test_a_completion_that_was_not_stored_and_a_sessions_turn_are_not_found(gateway: Stage) -> None:
    told = await completed(gateway, "One.")
    name = chunk_of(told[0])["id"]
    session = await gateway.session()
    url = gateway.url(f"/chat/sessions/{session}/messages")
    async with gateway.client.post(url, json={"content": "x"}, headers={"Prefer": "respond-async"}) as response:
        turn_id = (await response.json())["data"]["turnId"]
    for completion in (name, "chatcmpl-" + turn_id.removeprefix("trn_"), "chatcmpl-x", turn_id):
        async with gateway.client.get(gateway.url(f"/chat/completions/{completion}")) as response:
            assert (response.status, (await response.json())["code"]) == (404, "not_found")


async def test_stock_openai_client_streams_and_waits_and_lists_models(gateway: Stage) -> None:
    async with openai.AsyncOpenAI(api_key=gateway.key, base_url=gateway.url(""), max_retries=0) as client:
        models = [model.id async for model in client.models.list()]
        assert models == [gateway.agent_id]
        model = await client.models.retrieve(gateway.agent_id)
        assert (model.object, model.owned_by, type(model.created)) == ("model", "parley", int)
        stream = await client.chat.completions.create(
            model=gateway.agent_id, messages=[{"role": "user", "content": "hi"}], stream=True
        )
        answer = asyncio.create_task(gateway.answer(await gateway.admitted(), "On ", "its way."))
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        await answer
        assert text == "On its way."
        waiting = asyncio.create_task(
            client.chat.completions.create(model=gateway.agent_id, messages=[{"role": "user", "content": "hi"}])
        )
        await gateway.answer(await gateway.admitted(2), "Whole.")
        completion = await waiting
        assert completion.choices[0].message.content == "Whole."
        assert completion._request_id
        with pytest.raises(openai.NotFoundError, match="No such model"):
            await client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])


async def test_stock_openai_client_raises_on_a_failure_in_mid_stream(gateway: Stage) -> None:
    async with openai.AsyncOpenAI(api_key=gateway.key, base_url=gateway.url(""), max_retries=0) as client:
        stream = await client.chat.completions.create(
            model=gateway.agent_id, messages=[{"role": "user", "content": "hi"}], stream=True
        )
        turn_id = await gateway.admitted()
        await gateway.history.finish(turn_id, 1, [], status="failed", error=ApiError(Code.TURN_TIMEOUT).problem())
        with pytest.raises(openai.APIError, match="took too long"):
            [chunk async for chunk in stream]


async def test_pings_keep_a_silent_stream_alive(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.gateway.streaming.hub.HEARTBEAT_S", 0.2)
    async with stage(redis_url) as gateway, streaming(gateway) as response:
        turn_id = await gateway.admitted()
        seen = b""
        async with asyncio.timeout(30):
            while seen.count(b": ping\n\n") < 3:
                seen += await response.content.readany()
        await gateway.answer(turn_id, "Yes.")
        await response.content.read()


async def test_rate_limit_headers_are_on_every_answer_and_say_when_to_come_back(redis_url: str) -> None:
    async with stage(redis_url, requests_per_minute=2) as gateway:
        for remaining in ("1", "0"):
            async with gateway.client.get(gateway.url("/models")) as response:
                assert response.status == 200
                assert (
                    response.headers["RateLimit-Remaining"]
                    == remaining
                    == response.headers["x-ratelimit-remaining-requests"]
                )
                assert response.headers["RateLimit-Limit"] == "2" == response.headers["x-ratelimit-limit-requests"]
                seconds = response.headers["RateLimit-Reset"]
                assert response.headers["x-ratelimit-reset-requests"] == ("1m0s" if seconds == "60" else f"{seconds}s")
        async with gateway.client.get(gateway.url("/models")) as response:
            assert response.status == 429
            assert 1 <= int(response.headers["Retry-After"]) <= 31
            assert orjson.loads(await response.read())["error"]["type"] == "rate_limit_error"
        other = {"Authorization": f"Bearer {gateway.history.key(Scope.CHAT_READ)}"}
        async with gateway.client.get(gateway.url("/models"), headers=other) as response:
            assert response.status == 200


async def _post(
    gateway: Stage, body: dict[str, Any], headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], dict[str, Any]]:
    async with gateway.client.post(gateway.url("/chat/completions"), json=body, headers=headers) as response:
        return response.status, dict(response.headers), orjson.loads(await response.read())


async def test_a_half_closed_connection_counts_as_a_disconnect(gateway: Stage) -> None:
    host, port = gateway.base.removeprefix("http://").split(":")
    body = (
        b'{"model": "%b", "messages": [{"role": "user", "content": "hi"}], "stream": true}' % gateway.agent_id.encode()
    )
    head = f"POST /api/v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {gateway.key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(head.encode() + body)
    turn_id = await gateway.admitted()
    writer.write_eof()
    await eventually(lambda: gateway.history.cancelled == [turn_id], what="the cancellation")
    writer.close()
    await writer.wait_closed()


async def test_a_caller_that_leaves_during_its_admission_cancels_the_turn(
    gateway: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, port = gateway.base.removeprefix("http://").split(":")
    body = (
        b'{"model": "%b", "messages": [{"role": "user", "content": "hi"}], "stream": true}' % gateway.agent_id.encode()
    )
    head = f"POST /api/v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {gateway.key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    admit, left = gateway.history.admit, asyncio.Event()

    async def slow(*order: Any) -> Any:
        admitted = await admit(*order)
        await left.wait()
        return admitted

    monkeypatch.setattr(gateway.history, "admit", slow)
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(head.encode() + body)
    turn_id = await gateway.admitted()
    server = gateway.runner.server
    assert server is not None
    writer.transport.abort()
    await eventually(
        lambda: any(connection.transport is None for connection in server.connections), what="the connection's end"
    )
    left.set()
    await eventually(lambda: gateway.history.cancelled == [turn_id], what="the cancellation")
