"""`make up` itself: it starts twice on the same data, brings back what dies, and leaves nothing behind."""

import asyncio
import os
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import psutil

from tests.conftest import eventually
from tests.system.stack import Client, Stack


async def test_a_second_start_keeps_data_key_and_version_and_leaves_nothing(tmp_path: Path) -> None:
    first = Stack.start(tmp_path)
    facts = first.facts
    children = psutil.Process(first.process.pid).children(recursive=True)
    async with aiohttp.ClientSession() as http:
        client = Client(http, facts["baseUrl"], facts["secretKey"])
        session_id = await client.session(facts["agentId"])
        told = await client.ask(session_id, "What are your hours?")
        assert told.end is not None
        sources = await _sources(client, facts["agentId"])
        assert {each["state"] for each in sources} == {"indexed"}
        assert "Hours" in {each["title"] for each in sources}
    first.stop()
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]

    second = Stack.start(tmp_path)
    try:
        again = second.facts
        assert (again["secretKey"], again["agentId"]) == (facts["secretKey"], facts["agentId"])
        async with aiohttp.ClientSession() as http:
            client = Client(http, again["baseUrl"], again["secretKey"])
            assert (await client.messages(session_id))[1]["content"] == told.text
            status, body = await client.call("POST", "/chat/sessions", {"agentId": again["agentId"]})
            assert (status, body["data"]["agentVersion"]) == (201, 1)
            assert await _sources(client, again["agentId"]) == sources
    finally:
        second.stop()


async def _sources(client: Client, agent_id: str) -> list[dict[str, Any]]:
    _, body = await client.call("GET", f"/agents/{agent_id}/knowledge/sources")
    return list(body["data"])


async def test_the_key_file_is_there_before_a_gateway_says_that_it_is_ready(tmp_path: Path) -> None:
    starting = asyncio.create_task(asyncio.to_thread(Stack.start, tmp_path))
    async with aiohttp.ClientSession() as http:
        while not await _is_ready(http, tmp_path / "data" / "state.json"):
            assert not starting.done(), "the stack was ready before its gateway was seen to be"
            await asyncio.sleep(0.001)
        key = tmp_path / "data" / "key"
        found = key.read_text() if key.exists() else None
    stack = await starting
    try:
        assert found == stack.facts["secretKey"] + "\n"
    finally:
        await asyncio.to_thread(stack.stop)


async def _is_ready(http: aiohttp.ClientSession, state: Path) -> bool:
    with suppress(OSError, orjson.JSONDecodeError, KeyError, aiohttp.ClientError):
        port = orjson.loads(state.read_bytes())["ports"]["gateway-1"]
        async with http.get(f"http://127.0.0.1:{port}/readyz") as answer:
            return answer.status == 200
    return False


async def test_what_stores_turns_goes_behind_what_carries_tokens(stack: Stack) -> None:
    pids = stack.facts["pids"]
    own = psutil.Process(os.getpid()).nice()
    yielding = {psutil.Process(pid).nice() - own for pid in (*pids["history"], pids["mongodb"])}
    others = {psutil.Process(pid).nice() - own for pid in (*pids["gateway"], *pids["worker"], pids["redis"])}
    assert (yielding, others) == ({3}, {0})


async def test_a_killed_process_comes_back_and_the_ready_file_says_so(stack: Stack) -> None:
    for group in ("gateway", "history"):
        before = stack.facts["pids"][group]
        os.kill(before[0], signal.SIGKILL)
        await eventually(partial(_is_replaced, stack, group, before), within_s=60)
        await eventually(partial(_answers, stack, group), within_s=60)


def _is_replaced(stack: Stack, group: str, before: list[int]) -> bool:
    now = stack.facts["pids"][group]
    return len(now) == len(before) and before[0] not in now and None not in now


async def _answers(stack: Stack, group: str) -> bool:
    async with aiohttp.ClientSession() as http:
        try:
            for url in stack.facts["metrics"][group]:
                async with http.get(url.removesuffix("/metrics") + "/readyz") as answer:
                    if answer.status != 200:
                        return False
        except aiohttp.ClientError:
            return False
    return True
