"""Connections that are cut and workers that are killed: the client ends with what is stored."""

import asyncio
import os
import signal
from typing import Any

import aiohttp
import openai
import pytest

from deploy.demo.scripted import scripted_answer
from shared.contracts.keys import NewKey, Scope
from tests.response_documents import checked_events
from tests.system.faces.cut_line import CutLine
from tests.system.faces.responses.conftest import Connect, assert_stored
from tests.system.stack import Client, Stack


def kill_workers(stack: Stack) -> None:
    for pid in stack.facts["pids"]["worker"]:
        os.kill(pid, signal.SIGKILL)


async def until_text(stream: Any, pieces: int = 1) -> list[Any]:
    """The events up to so many deltas."""
    events: list[Any] = []
    async for event in stream:
        events.append(event)
        pieces -= event.type == "response.output_text.delta"
        if not pieces:
            break
    return events


async def test_a_cut_stream_goes_on_after_its_last_event_on_the_other_gateway(
    stack: Stack, connect: Connect, client: Client
) -> None:
    agent_id = await stack.publish("scripted/tokens=150,delay=10,text=echo")
    seen: list[Any] = []
    async with CutLine(stack.facts["gateways"][0]) as line:
        cut_off = connect(base_url=line.url + "/api/v1")
        stream = await cut_off.responses.create(model=agent_id, input="cut", stream=True)
        seen = await until_text(stream, 20)
        line.cut()
        with pytest.raises(Exception, match=r"incomplete|peer|closed|read|Connection"):
            seen += await until_text(stream, 1000)
    other = connect(base_url=stack.facts["gateways"][1] + "/api/v1")
    name, after = seen[0].response.id, seen[-1].sequence_number
    rest = await other.responses.retrieve(name, stream=True, starting_after=after)
    seen += [event async for event in rest]
    assert [event.sequence_number for event in seen] == list(range(len(seen)))
    text = "".join(event.delta for event in seen if event.type == "response.output_text.delta")
    assert text == seen[-1].response.output_text == scripted_answer("cut", 150)
    await assert_stored(client, seen[-1].response)


async def test_a_worker_that_dies_before_the_first_text_is_replaced_unseen(
    stack: Stack, sdk: openai.AsyncOpenAI, client: Client
) -> None:
    agent_id = await stack.publish("scripted/tokens=9,first=2500,text=echo")
    whole = asyncio.create_task(sdk.responses.create(model=agent_id, input="early whole"))
    stream = await sdk.responses.create(model=agent_id, input="early", stream=True)
    await asyncio.wait_for(_asked(client, stack, "early", "early whole"), 30)
    kill_workers(stack)
    events: list[Any] = [event async for event in stream]
    assert [event.type for event in events].count("response.output_item.added") == 1
    assert events[-1].response.output_text == scripted_answer("early", 9)
    await assert_stored(client, events[-1].response)
    assert (await whole).output_text == scripted_answer("early whole", 9)
    await assert_stored(client, await whole)


async def _asked(client: Client, stack: Stack, *questions: str) -> None:
    """Until the model has been asked all of them."""
    found: set[str] = set()
    while not found >= set(questions):
        async with client.http.get(stack.facts["modelUrl"] + "/requests") as answer:
            found = {str(body["messages"][-1]["content"]) for body in await answer.json()}
        await asyncio.sleep(0.05)


async def test_a_worker_that_dies_amid_the_text_leaves_an_incomplete_item(
    stack: Stack, connect: Connect, client: Client
) -> None:
    agent_id = await stack.publish("scripted/tokens=120,delay=15,text=echo")
    sdk = connect()
    events: list[Any] = []
    async with sdk.responses.stream(model=agent_id, input="late") as stream:
        async for event in stream:
            events.append(event)
            if event.type == "response.output_text.delta" and len(events) == 10:
                kill_workers(stack)
        final = await stream.get_final_response()
    done = [event.item for event in events if event.type == "response.output_item.done"]
    assert [item.status for item in done] == ["incomplete", "completed"]
    assert scripted_answer("late", 120).startswith(done[0].content[0].text)
    output: list[Any] = list(final.output)
    assert [item.id for item in output] == [done[1].id]
    assert final.output_text == scripted_answer("late", 120)
    await assert_stored(client, final)
    # Whoever reads it again from any place gets the same events.
    async with client.request("GET", f"/responses/{final.id}?stream=true") as answer:
        again = checked_events(await answer.read())
    assert [event["sequence_number"] for event in again] == [event.sequence_number for event in events]
    async with client.request("GET", f"/responses/{final.id}?stream=true&starting_after=8") as answer:
        assert checked_events(await answer.read()) == again[9:]


async def test_too_many_requests_are_the_sdks_rate_limit(stack: Stack, connect: Connect) -> None:
    agent_id = await stack.publish("scripted/tokens=2")
    async with stack.history() as history:
        scopes = frozenset({Scope.CHAT_READ, Scope.CHAT_WRITE})
        key = await history.create_key(NewKey(workspace=stack.facts["workspace"], scopes=scopes, rate_limit_rpm=1))
    sdk = connect(api_key=key.secret)
    await sdk.responses.create(model=agent_id, input="hi")
    with pytest.raises(openai.RateLimitError) as limited:
        await sdk.responses.create(model=agent_id, input="hi")
    assert int(limited.value.response.headers["Retry-After"]) > 0


async def test_a_blind_retry_of_the_sdk_doubles_no_turn_of_a_guarded_key(
    stack: Stack, connect: Connect, client: Client, http: aiohttp.ClientSession
) -> None:
    """The first connection is cut before its answer; the SDK sends the request again by itself."""
    agent_id = await stack.publish("scripted/tokens=60,delay=20,text=echo")
    async with stack.history() as history:
        scopes = frozenset({Scope.CHAT_READ, Scope.CHAT_WRITE})
        key = await history.create_key(NewKey(workspace=stack.facts["workspace"], scopes=scopes, retry_guard=True))
    async with CutLine(stack.facts["gateways"][0]) as line:
        sdk = connect(base_url=line.url + "/api/v1", api_key=key.secret, max_retries=2)
        answer = asyncio.create_task(sdk.responses.create(model=agent_id, input="blindly"))
        await asyncio.wait_for(_asked(client, stack, "blindly"), 30)
        line.cut()
        response = await answer
    assert response.output_text == scripted_answer("blindly", 60)
    async with http.get(stack.facts["modelUrl"] + "/requests") as found:
        asked = [body for body in await found.json() if body["messages"][-1]["content"] == "blindly"]
    assert len(asked) == 1
