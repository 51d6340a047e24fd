"""Tools when workers die: at-least-once under one idempotency key, and never twice where that was asked for."""

import asyncio
import os
import signal
from typing import Any

import aiohttp
import pytest

from shared.contracts.tools import HttpTool
from tests.conftest import eventually
from tests.system.stack import Client, Stack, Transcript, read_to_end

MODEL = 'scripted/tokens=5,delay=0,tool=book:{"table":4}'


@pytest.fixture
async def calls(stack: Stack, http: aiohttp.ClientSession) -> "Calls":
    calls = Calls(http, stack.facts["modelUrl"])
    await calls.clear()
    return calls


class Calls:
    """What the demo tool has recorded."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self.url = url.removesuffix("/v1")

    async def all(self) -> list[dict[str, Any]]:
        async with self._http.get(self.url + "/tools/counter") as answer:
            return list(await answer.json())

    async def clear(self) -> None:
        async with self._http.delete(self.url + "/tools/counter"):
            pass

    def tool(self, delay_ms: int, retry: str) -> HttpTool:
        schema = {"type": "object", "properties": {"table": {"type": "integer"}}, "required": ["table"]}
        return HttpTool.model_validate(
            {"name": "book", "url": f"{self.url}/tools/count?delay_ms={delay_ms}", "retry": retry, "parameters": schema}
        )


async def ask_and_kill_during_the_call(stack: Stack, client: Client, calls: Calls, retry: str) -> Transcript:
    agent_id = await stack.publish(MODEL, tools=(calls.tool(1500, retry),))
    session_id = await client.session(agent_id)
    told = Transcript()
    async with client.request(
        "POST", f"/chat/sessions/{session_id}/messages", {"content": "a table", "stream": True}
    ) as answer:
        reading = asyncio.create_task(read_to_end(answer, told))
        await eventually(lambda: _called(calls, 1))
        for pid in stack.facts["pids"]["worker"]:
            os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(40):
            await reading
    assert "restarted" in told.events()
    return told


async def _called(calls: Calls, times: int) -> bool:
    return len(await calls.all()) >= times


async def test_a_repeated_call_bears_the_same_idempotency_key(stack: Stack, client: Client, calls: Calls) -> None:
    told = await ask_and_kill_during_the_call(stack, client, calls, "safe")
    assert told.end is not None
    assert told.end.event == "done", told.end.data
    recorded = await calls.all()
    assert len(recorded) == 2
    assert recorded[0] == recorded[1]
    assert recorded[0]["idempotencyKey"].startswith(told.end.data["turnId"])


async def test_a_never_retry_tool_is_not_called_again(stack: Stack, client: Client, calls: Calls) -> None:
    told = await ask_and_kill_during_the_call(stack, client, calls, "never")
    assert told.end is not None
    assert told.end.event == "error"
    assert (told.end.data["code"], told.end.data["retryable"]) == ("turn_failed", False)
    assert "book" in told.end.data["detail"]
    assert len(await calls.all()) == 1


async def test_tools_run_in_parallel_and_answer_in_call_order(stack: Stack, client: Client, calls: Calls) -> None:
    model = 'scripted/tokens=5,delay=0,tool=book:{"table":1},tool=book:{"table":2},tool=book:{"table":"four"}'
    session_id = await client.session(await stack.publish(model, tools=(calls.tool(300, "safe"),)))
    told = await client.ask(session_id, "three tables")
    assert told.end is not None
    assert told.end.event == "done", told.end.data
    results = [frame.data for frame in told.frames if frame.event == "tool_result"]
    assert [result["status"] for result in results] == ["ok", "ok", "error"], (
        "arguments that break the schema are an error result"
    )
    stored = [row for row in await client.messages(session_id) if row["role"] == "tool"]
    called = [frame.data["toolCallId"] for frame in told.frames if frame.event == "tool_call"]
    assert [row["toolCallId"] for row in stored] == called
    assert sorted(call["arguments"]["table"] for call in await calls.all()) == [1, 2]
