"""openai-python as it comes: streams, tools, structured output, timeouts, retries, cancellation, stored completions."""

import asyncio
import time
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from deploy.demo.scripted import scripted_answer
from shared.ids import new_id
from tests.conftest import eventually
from tests.system.openai.conftest import Connect, MintKey, Received
from tests.system.openai.relay import Relay
from tests.system.openai.wire import function
from tests.system.stack import Stack

ECHO = "scripted/tokens=12,delay=1,text=echo"
WEATHER = 'scripted/tool=weather:{"city":"Rome"},tokens=9,text=echo'


class EarlierTurn(BaseModel):
    said: str


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


def question() -> str:
    """One that no other test asks."""
    return f"question {new_id('req')}"


async def test_a_stream_and_a_whole_answer_say_the_same(stack: Stack, sdk: openai.AsyncOpenAI) -> None:
    agent_id = await stack.publish(ECHO)
    stream = await sdk.chat.completions.create(
        model=agent_id, messages=user("hello"), stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    whole = await sdk.chat.completions.create(model=agent_id, messages=user("hello"))
    assert text == whole.choices[0].message.content == scripted_answer("hello", 12)
    assert chunks[-1].usage == whole.usage
    assert whole.usage is not None
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    assert whole._request_id is not None
    assert whole._request_id.startswith("req_")
    assert (await sdk.models.retrieve(agent_id)).id == agent_id


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_callers_tool_goes_round(
    stack: Stack, sdk: openai.AsyncOpenAI, received: Received, streamed: bool
) -> None:
    agent_id, asked, tools = await stack.publish(WEATHER), question(), [function("weather")]
    message: Any
    if streamed:
        async with sdk.chat.completions.stream(model=agent_id, messages=user(asked), tools=tools) as stream:
            events = [event.type async for event in stream]
            message = (await stream.get_final_completion()).choices[0].message
        assert "tool_calls.function.arguments.done" in events
    else:
        completion = await sdk.chat.completions.create(model=agent_id, messages=user(asked), tools=tools)
        assert completion.choices[0].finish_reason == "tool_calls"
        message = completion.choices[0].message
    (call,) = message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, call.function.arguments) == ("weather", '{"city":"Rome"}')
    answered = [
        *user(asked),
        {"role": "assistant", "content": None, "tool_calls": [call.model_dump(include={"id", "type", "function"})]},
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
    ]
    answer: Any = await sdk.chat.completions.create(model=agent_id, messages=answered, tools=tools)
    assert answer.choices[0].message.content == scripted_answer(asked, 9)
    first, second = await received(asked)
    assert [tool["function"]["name"] for tool in first["tools"]] == ["weather"]
    assert second["messages"][-1] == {"role": "tool", "tool_call_id": call.id, "content": "sunny"}


async def test_tool_choice_reaches_the_model(stack: Stack, sdk: openai.AsyncOpenAI, received: Received) -> None:
    agent_id, asked = await stack.publish(WEATHER), question()
    chosen: Any = {"type": "function", "function": {"name": "weather"}}
    choices: tuple[tuple[Any, str], ...] = (("none", "stop"), (chosen, "tool_calls"), ("required", "tool_calls"))
    for choice, reason in choices:
        answer = await sdk.chat.completions.create(
            model=agent_id,
            messages=user(asked),
            tools=[function("weather")],
            tool_choice=choice,
        )
        assert answer.choices[0].finish_reason == reason
    # Servers may ignore `none`: a model that is to call nothing is offered nothing.
    assert [body.get("tool_choice") for body in await received(asked)] == [None, chosen, "required"]
    assert ["tools" in body for body in await received(asked)] == [False, True, True]


async def test_structured_output_passes_through_and_comes_back_parsed(
    stack: Stack, sdk: openai.AsyncOpenAI, received: Received
) -> None:
    agent_id, asked = await stack.publish("scripted/tokens=9,delay=1,text=json"), question()
    parsed = await sdk.chat.completions.parse(model=agent_id, messages=user(asked), response_format=EarlierTurn)
    assert parsed.choices[0].message.parsed == EarlierTurn(said=asked)
    async with sdk.chat.completions.stream(model=agent_id, messages=user(asked), response_format=EarlierTurn) as stream:
        final = await stream.get_final_completion()
    assert final.choices[0].message.parsed == EarlierTurn(said=asked)
    for body in await received(asked):
        assert body["response_format"]["type"] == "json_schema"
        assert body["response_format"]["json_schema"]["schema"]["required"] == ["said"]


async def test_the_stream_helper_tells_every_delta_and_the_final_completion(
    stack: Stack, sdk: openai.AsyncOpenAI
) -> None:
    agent_id = await stack.publish(ECHO)
    async with sdk.chat.completions.stream(model=agent_id, messages=user("helper")) as stream:
        deltas = [event.delta async for event in stream if event.type == "content.delta"]
        final = await stream.get_final_completion()
    assert "".join(deltas) == final.choices[0].message.content == scripted_answer("helper", 12)


async def test_a_timeout_is_a_timeout_and_leaves_no_turn_behind(
    stack: Stack, connect: Connect, received: Received
) -> None:
    agent_id, asked = await stack.publish("scripted/tokens=2,first=60000"), question()
    with pytest.raises(openai.APITimeoutError):
        await connect(timeout=2.0).chat.completions.create(model=agent_id, messages=user(asked))
    assert len(await received(asked)) == 1


async def test_a_stream_that_is_closed_cancels_its_turn_within_a_second(stack: Stack, sdk: openai.AsyncOpenAI) -> None:
    agent_id = await stack.publish("scripted/tokens=2000,delay=20")
    times = list[float]()
    async with stack.history() as history:
        # A busy host can delay any single one, so one of several must keep the promise.
        while len(times) < 10 and (not times or min(times) > 1.0):
            stream = await sdk.chat.completions.create(model=agent_id, messages=user(question()), stream=True)
            name = ""
            async for chunk in stream:
                name = chunk.id
                if chunk.choices[0].delta.content:
                    break
            began = time.monotonic()
            await stream.close()
            turn_id = "trn_" + name.removeprefix("chatcmpl-")

            async def cancelled(turn_id: str = turn_id) -> bool:
                return (await history.turn(stack.facts["workspace"], turn_id)).turn.status == "cancelled"

            await eventually(cancelled, within_s=10, what="the cancellation")
            times.append(time.monotonic() - began)
    print(f"cancelled after {min(times):.2f} s at best")
    assert min(times) <= 1.0, times


# --- retries


async def test_an_idempotency_key_makes_a_lost_answer_one_turn(
    stack: Stack, connect: Connect, relay: Relay, received: Received
) -> None:
    agent_id, asked = await stack.publish(ECHO), question()
    client = connect(base_url=relay.base, max_retries=2)
    relay.lose = 1
    answer = await client.chat.completions.create(
        model=agent_id, messages=user(asked), extra_headers={"Idempotency-Key": new_id("req"), "x-case": "key"}
    )
    assert answer.choices[0].message.content == scripted_answer(asked, 12)
    assert relay.of("key") == [200, 200]
    assert len({seen.idempotency_key for seen in relay.seen}) == 1
    assert len(await received(asked)) == 1


@pytest.mark.parametrize("guard", [True, False])
async def test_the_retry_guard_of_a_key_makes_a_lost_answer_one_turn(
    stack: Stack, connect: Connect, relay: Relay, received: Received, mint_key: MintKey, guard: bool
) -> None:
    agent_id, asked = await stack.publish(ECHO), question()
    client = connect(base_url=relay.base, max_retries=2, api_key=await mint_key(retry_guard=guard))
    relay.lose = 1
    answer = await client.chat.completions.create(
        model=agent_id, messages=user(asked), extra_headers={"x-case": "guard"}
    )
    assert answer.choices[0].message.content == scripted_answer(asked, 12)
    assert [(seen.retry_count, seen.status) for seen in relay.seen] == [("0", 200), ("1", 200)]
    assert len(await received(asked)) == (1 if guard else 2)


async def test_under_the_guard_a_repeat_joins_the_turn_that_still_runs(
    stack: Stack, connect: Connect, received: Received, mint_key: MintKey
) -> None:
    agent_id, asked = await stack.publish("scripted/tokens=30,delay=100,text=echo"), question()
    client = connect(api_key=await mint_key(retry_guard=True))
    first = asyncio.create_task(client.chat.completions.create(model=agent_id, messages=user(asked)))

    async def runs() -> bool:
        return len(await received(asked)) == 1

    await eventually(runs, what="the first request at the model")
    first.cancel()  # The connection is lost; the turn goes on.
    again = await client.chat.completions.create(
        model=agent_id, messages=user(asked), extra_headers={"x-stainless-retry-count": "1"}
    )
    assert again.choices[0].message.content == scripted_answer(asked, 30)
    assert len(await received(asked)) == 1


# --- stored completions


async def test_stored_completions_are_listed_read_changed_and_erased(stack: Stack, sdk: openai.AsyncOpenAI) -> None:
    agent_id, mark = await stack.publish(ECHO), new_id("req")
    made = [
        await sdk.chat.completions.create(
            model=agent_id,
            messages=[{"role": "system", "content": "Be brief."}, *user(f"stored {number}")],
            store=True,
            metadata={"mark": mark, "number": str(number)},
        )
        for number in range(5)
    ]
    ids = [completion.id for completion in made]
    listed = [
        completion async for completion in sdk.chat.completions.list(model=agent_id, metadata={"mark": mark}, limit=2)
    ]
    assert [completion.id for completion in listed] == ids
    assert [completion.choices[0].message.content for completion in listed] == [
        scripted_answer(f"stored {number}", 12) for number in range(5)
    ]
    newest = await sdk.chat.completions.list(metadata={"mark": mark}, order="desc", limit=1)
    assert ([completion.id for completion in newest.data], newest.has_more) == (ids[-1:], True)
    (third,) = [completion async for completion in sdk.chat.completions.list(metadata={"mark": mark, "number": "2"})]
    assert third.id == ids[2]
    assert (await sdk.chat.completions.retrieve(ids[0])).choices == made[0].choices
    messages = [message async for message in sdk.chat.completions.messages.list(ids[0], limit=1)]
    assert [(message.role, message.content) for message in messages] == [("system", "Be brief."), ("user", "stored 0")]
    updated: Any = await sdk.chat.completions.update(ids[0], metadata={"mark": "another"})
    assert updated.metadata == {"mark": "another"}
    deleted = await sdk.chat.completions.delete(ids[1])
    assert (deleted.id, deleted.deleted, deleted.object) == (ids[1], True, "chat.completion.deleted")
    with pytest.raises(openai.NotFoundError):
        await sdk.chat.completions.retrieve(ids[1])
    assert [completion.id async for completion in sdk.chat.completions.list(metadata={"mark": mark})] == ids[2:]


async def test_what_was_not_stored_is_not_found(stack: Stack, sdk: openai.AsyncOpenAI) -> None:
    completion = await sdk.chat.completions.create(model=await stack.publish(ECHO), messages=user("passing"))
    for call in (
        sdk.chat.completions.retrieve(completion.id),
        sdk.chat.completions.delete(completion.id),
        sdk.chat.completions.update(completion.id, metadata={}),
    ):
        with pytest.raises(openai.NotFoundError, match="Not found"):
            await call
