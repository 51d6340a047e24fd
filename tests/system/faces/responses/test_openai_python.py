"""openai-python's `responses` as they come: helpers, tools, structured output, background, citations, conversations."""

from typing import Any

import openai
import pytest
from openai.types.responses import ResponseIncludable
from pydantic import BaseModel

from deploy.demo.scripted import scripted_answer
from tests.conftest import eventually
from tests.response_documents import checked_events
from tests.system.faces.responses.conftest import assert_stored
from tests.system.stack import Client, Stack

ECHO = "scripted/tokens=12,delay=1,text=echo"
WEATHER = 'scripted/tool=weather:{"city":"Rome"},tokens=9,text=echo'
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: Any = [{"type": "function", "name": "weather", "parameters": PARAMETERS, "strict": False}]


class Said(BaseModel):
    said: str


async def test_a_stream_its_helper_and_a_whole_response_say_the_same(
    stack: Stack, sdk: openai.AsyncOpenAI, client: Client
) -> None:
    agent_id, expected = await stack.publish(ECHO), scripted_answer("hello", 12)
    whole = await sdk.responses.create(model=agent_id, input="hello")
    assert (whole.output_text, whole.status, whole.model) == (expected, "completed", agent_id)
    await assert_stored(client, whole)
    text = ""
    stream = await sdk.responses.create(model=agent_id, input="hello", stream=True)
    async for event in stream:
        text += event.delta if event.type == "response.output_text.delta" else ""
    assert event.type == "response.completed"
    assert (text, event.response.output_text) == (expected, expected)
    await assert_stored(client, event.response)
    async with sdk.responses.stream(model=agent_id, input="hello") as helped:
        snapshots = [event.snapshot async for event in helped if event.type == "response.output_text.delta"]
        final = await helped.get_final_response()
    assert snapshots[-1] == final.output_text == expected
    assert whole.usage == event.response.usage == final.usage
    assert whole.usage is not None
    assert whole.usage.total_tokens == whole.usage.input_tokens + whole.usage.output_tokens


async def test_a_callers_tool_goes_round_and_the_agents_own_is_not_shown(
    stack: Stack, sdk: openai.AsyncOpenAI, client: Client
) -> None:
    agent_id = await stack.publish(WEATHER)
    async with sdk.responses.stream(model=agent_id, input="weather?", tools=TOOLS) as stream:
        kinds = [event.type async for event in stream]
        asked = await stream.get_final_response()
    assert {"response.function_call_arguments.delta", "response.function_call_arguments.done"} <= set(kinds)
    (call,) = asked.output
    assert call.type == "function_call"
    assert (call.name, call.arguments) == ("weather", '{"city":"Rome"}')
    await assert_stored(client, asked)
    output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    answer = await sdk.responses.create(previous_response_id=asked.id, input=[output], tools=TOOLS)
    assert answer.output_text == scripted_answer("weather?", 9)
    await assert_stored(client, answer)
    # The same without anything kept: the caller sends the whole conversation.
    history: Any = [{"role": "user", "content": "weather?"}]
    first = await sdk.responses.create(model=agent_id, input=history, tools=TOOLS, store=False)
    history += [item.to_dict() for item in first.output]
    history.append({**output, "call_id": history[-1]["call_id"]})
    second = await sdk.responses.create(model=agent_id, input=history, tools=TOOLS, store=False)
    assert second.output_text == scripted_answer("weather?", 9)


async def test_structured_output_is_parsed(stack: Stack, sdk: openai.AsyncOpenAI) -> None:
    agent_id = await stack.publish("scripted/text=json")
    parsed = await sdk.responses.parse(model=agent_id, input="hi", text_format=Said)
    assert parsed.output_parsed == Said(said="hi")
    async with sdk.responses.stream(model=agent_id, input="hi", text_format=Said) as stream:
        assert (await stream.get_final_response()).output_parsed == Said(said="hi")


async def test_conversations_go_on_and_branch_off(stack: Stack, sdk: openai.AsyncOpenAI, client: Client) -> None:
    agent_id = await stack.publish(ECHO)
    one = await sdk.responses.create(model=agent_id, input="one", instructions="Count.")
    assert one.conversation is not None
    two = await sdk.responses.create(input="two", previous_response_id=one.id)
    three = await sdk.responses.create(input="three", conversation=one.conversation.id)
    assert two.conversation == three.conversation == one.conversation
    other = await sdk.responses.create(input="other", previous_response_id=one.id)
    assert (other.conversation, other.previous_response_id) == (one.conversation, one.id)
    texts = [row["content"] for row in await client.messages(one.conversation.id) if row["role"] == "user"]
    assert texts == ["one", "other"]
    async with client.http.get(stack.facts["modelUrl"] + "/requests") as answer:
        bodies = await answer.json()
    asked = next(body["messages"] for body in reversed(bodies) if body["messages"][-1]["content"] == "other")
    assert [message["content"] for message in asked if message["role"] == "user"] == ["one", "other"]
    assert not any("Count." in str(message["content"]) for message in asked)
    listed = await sdk.responses.input_items.list(other.id)
    assert [item.to_dict()["content"] for item in listed.data] == [[{"type": "input_text", "text": "other"}]]


async def test_a_background_response_is_polled_and_followed(
    stack: Stack, sdk: openai.AsyncOpenAI, client: Client
) -> None:
    agent_id = await stack.publish("scripted/tokens=40,delay=10,text=echo")
    started = await sdk.responses.create(model=agent_id, input="slow", background=True)
    assert started.status in ("queued", "in_progress")

    async def ended() -> bool:
        return (await sdk.responses.retrieve(started.id)).status == "completed"

    await eventually(ended, within_s=30, what="the end of the response")
    polled = await sdk.responses.retrieve(started.id)
    assert polled.output_text == scripted_answer("slow", 40)
    await assert_stored(client, polled)
    async with sdk.responses.stream(response_id=started.id, starting_after=3) as stream:
        numbers = [event.sequence_number async for event in stream]
        final = await stream.get_final_response()
    assert numbers == list(range(4, 4 + len(numbers)))
    assert final.output_text == polled.output_text


async def test_a_cancelled_response_keeps_what_was_said(stack: Stack, sdk: openai.AsyncOpenAI, client: Client) -> None:
    agent_id = await stack.publish("scripted/tokens=3000,delay=20,text=echo")
    stream = await sdk.responses.create(model=agent_id, input="stop", background=True, stream=True)
    seen: list[Any] = []
    async for event in stream:
        seen.append(event)
        if event.type == "response.output_text.delta" and len(seen) == 8:
            await sdk.responses.cancel(seen[0].response.id)
    last = seen[-1]
    assert (last.type, last.response.status) == ("response.incomplete", "cancelled")
    assert last.response.output_text == "".join(getattr(event, "delta", "") for event in seen)
    await assert_stored(client, last.response)


async def test_the_agents_searches_and_citations_are_items_and_annotations(
    stack: Stack, sdk: openai.AsyncOpenAI, client: Client
) -> None:
    question = "How long does delivery take to 80202?"
    found: ResponseIncludable = "file_search_call.results"
    async with sdk.responses.stream(model=stack.facts["agentId"], input=question, include=[found]) as stream:
        events = [event async for event in stream]
        final = await stream.get_final_response()
    search, message = final.output
    assert search.type == "file_search_call"
    assert (search.queries, search.status) == ([question], "completed")
    assert search.results
    assert message.type == "message"
    assert message.content[0].type == "output_text"
    annotations = message.content[0].annotations
    assert annotations
    told: list[Any] = [event.annotation for event in events if event.type == "response.output_text.annotation.added"]
    assert [annotation.to_dict() for annotation in told] == [annotation.to_dict() for annotation in annotations]
    assert (await sdk.responses.retrieve(final.id)).output[0].to_dict()["results"] is None
    shown = await sdk.responses.retrieve(final.id, include=[found])
    assert shown.output[0].to_dict() == search.to_dict()
    async with client.request("GET", f"/responses/{final.id}?stream=true") as answer:
        assert checked_events(await answer.read())[-1]["type"] == "response.completed"


async def test_a_response_is_deleted(stack: Stack, sdk: openai.AsyncOpenAI) -> None:
    response = await sdk.responses.create(model=await stack.publish(ECHO), input="forget me")
    await sdk.responses.delete(response.id)
    with pytest.raises(openai.APIStatusError) as raised:
        await sdk.responses.retrieve(response.id)
    assert raised.value.status_code == 410


async def test_refusals_are_the_sdks_own_errors(stack: Stack, sdk: openai.AsyncOpenAI) -> None:
    agent_id = await stack.publish("scripted/tokens=3000,delay=20")
    running = await sdk.responses.create(model=agent_id, input="long", background=True)
    with pytest.raises(openai.ConflictError) as busy:
        await sdk.responses.create(input="now?", previous_response_id=running.id)
    assert busy.value.code == "turn_in_progress"
    await sdk.responses.cancel(running.id)
    image: Any = [{"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,iVBO"}]}]
    for members, error, param in (
        ({"model": "nobody", "input": "hi"}, openai.NotFoundError, "model"),
        ({"model": agent_id, "input": image}, openai.BadRequestError, "input[0].content[0].type"),
        ({"input": "hi", "previous_response_id": "resp_none"}, openai.NotFoundError, "previous_response_id"),
    ):
        with pytest.raises(error) as refused:
            await sdk.responses.create(**members)
        assert refused.value.param == param


async def test_a_failing_model_is_an_error_and_a_failed_response(stack: Stack, sdk: openai.AsyncOpenAI) -> None:
    agent_id = await stack.publish("scripted/tokens=40,delay=1,fail=cut,after=20")
    with pytest.raises(openai.InternalServerError):
        await sdk.responses.create(model=agent_id, input="break")
    stream = await sdk.responses.create(model=agent_id, input="break", stream=True)
    event = [event async for event in stream][-1]
    assert event.type == "response.failed"
    stored = await sdk.responses.retrieve(event.response.id)
    assert (stored.status, stored.error) == ("failed", event.response.error)
    assert stored.error is not None
    assert stored.error.code == "server_error"
