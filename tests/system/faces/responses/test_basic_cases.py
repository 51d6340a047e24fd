"""The seven basic cases of Open Responses' compliance suite, rebuilt: its document's models check every answer."""

from typing import Any

import pytest

from tests.response_documents import checked_events, checked_response
from tests.system.stack import Client, Stack

WEATHER = 'scripted/tool=get_weather:{"location":"San Francisco"},tokens=5'
TOOL: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the current weather for a location",
    "parameters": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
}


def said(role: str, text: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": text}


async def whole(client: Client, **body: Any) -> Any:
    async with client.request("POST", "/responses", body) as answer:
        raw = await answer.read()
        assert answer.status == 200, raw
        return checked_response(raw)


async def streamed(client: Client, **body: Any) -> list[dict[str, Any]]:
    async with client.request("POST", "/responses", {**body, "stream": True}) as answer:
        assert answer.status == 200, await answer.text()
        return checked_events(await answer.read())


@pytest.fixture
async def model(stack: Stack) -> str:
    return await stack.publish("scripted/tokens=3,text=echo")


async def test_basic_response(client: Client, model: str) -> None:
    response = await whole(client, model=model, input=[said("user", "Say hello in exactly 3 words.")])
    assert (response.status, len(response.output)) == ("completed", 1)


async def test_streaming_response(client: Client, model: str) -> None:
    events = await streamed(client, model=model, input=[said("user", "Count from 1 to 5.")])
    assert [event["type"] for event in events[:3]] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
    ]
    assert (events[-1]["type"], events[-1]["response"]["status"]) == ("response.completed", "completed")


async def test_system_prompt(client: Client, model: str, stack: Stack) -> None:
    conversation = [said("system", "You are a pirate."), said("user", "Say hello.")]
    assert (await whole(client, model=model, input=conversation)).status == "completed"
    async with client.http.get(stack.facts["modelUrl"] + "/requests") as answer:
        sent = (await answer.json())[-1]["messages"]
    assert "You are a pirate." in sent[0]["content"]


async def test_tool_calling(stack: Stack, client: Client) -> None:
    asked = {"model": await stack.publish(WEATHER), "input": [said("user", "Weather?")], "tools": [TOOL]}
    response = await whole(client, **asked)
    assert [item.type for item in response.output] == ["function_call"]


async def test_tool_calling_streaming(stack: Stack, client: Client) -> None:
    asked = {"model": await stack.publish(WEATHER), "input": [said("user", "Weather?")], "tools": [TOOL]}
    kinds = [event["type"] for event in await streamed(client, **asked)]
    assert kinds[2:] == [
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ]


async def test_image_input_is_refused_by_name_because_agents_read_text_only(client: Client, model: str) -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo="}
    parts = [{"type": "input_text", "text": "What is this?"}, image]
    status, answer = await client.call("POST", "/responses", {"model": model, "input": [said("user", parts)]})
    assert (status, answer["error"]["param"]) == (400, "input[0].content[1].type")
    assert "text only" in answer["error"]["message"]


async def test_multi_turn(client: Client, model: str) -> None:
    spoken = [said("user", "I am Alice."), said("assistant", "Hello Alice!"), said("user", "Who am I?")]
    assert (await whole(client, model=model, input=spoken)).status == "completed"
