"""The gateway as the process that it is in production: its signals, its event loop, its exit."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

import aiohttp
import pytest

from deploy.local.processes import free_port
from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import Scope
from shared.ids import new_id
from shared.run_log.reader import RunLogs
from tests.conftest import PATIENCE, eventually
from tests.service.gateway.fakes import WORKSPACE, FakeHistory
from tests.service.gateway.history_server import history_server
from tests.service.gateway.reading import chunk_of, frames, next_block

STREAMS = int(os.environ.get("PARLEY_TEST_STREAMS", "200"))


class Running(NamedTuple):
    process: asyncio.subprocess.Process
    base: str
    history: FakeHistory
    client: aiohttp.ClientSession


@pytest.fixture(params=["1", "0"], ids=["uvloop", "asyncio"])
async def running(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[Running]:
    async with AsyncExitStack() as stack:
        logs = await stack.enter_async_context(RunLogs([redis_url], keep_s=60))
        history = FakeHistory(logs)
        url = await stack.enter_async_context(history_server(history))
        port = free_port()
        environment = {
            **os.environ,
            "PARLEY_INTERNAL_TOKEN": "a-token-of-the-tests",
            "PARLEY_HISTORY_URL": url,
            "PARLEY_QUEUE_REDIS_URL": redis_url,
            "PARLEY_PORT": str(port),
            "PARLEY_PRIVATE_PORT": str(free_port()),
            "PARLEY_UVLOOP": request.param,
        }
        process = await stack.enter_async_context(_process(environment))
        headers = {"Authorization": f"Bearer {history.key(Scope.CHAT_READ, Scope.CHAT_WRITE)}"}
        connector = aiohttp.TCPConnector(limit=0)
        client = await stack.enter_async_context(aiohttp.ClientSession(headers=headers, connector=connector))
        base = f"http://127.0.0.1:{port}"
        await eventually(lambda: _ready(client, base), what="the gateway's readiness")
        yield Running(process, base, history, client)


@asynccontextmanager
async def _process(environment: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    output = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.gateway", env=environment, stdout=output
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _ready(client: aiohttp.ClientSession, base: str) -> bool:
    try:
        async with client.get(base + "/readyz") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def _sessions(running: Running, count: int) -> list[str]:
    agent_id = running.history.agent()
    sessions = [new_id("ses") for _ in range(count)]
    for session in sessions:
        await running.history.create_session(WORKSPACE, session, agent_id, {}, draft=False)
    return sessions


async def test_sigterm_ends_all_streams_without_a_terminal_frame_and_exits_in_time(running: Running) -> None:
    async with AsyncExitStack() as stack:
        posts = [
            running.client.post(
                f"{running.base}/api/v1/chat/sessions/{session}/messages", json={"content": "hi", "stream": True}
            )
            for session in await _sessions(running, STREAMS)
        ]
        streams = await asyncio.gather(*(stack.enter_async_context(post) for post in posts))
        assert {stream.status for stream in streams} == {200}
        started = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        told = await asyncio.gather(*(frames(stream) for stream in streams))
        ended_s = time.monotonic() - started
        code = await asyncio.wait_for(running.process.wait(), 5 * PATIENCE)
        exited_s = time.monotonic() - started
    print(f"{STREAMS} streams ended after {ended_s:.2f} s, exit after {exited_s:.2f} s")
    assert {tuple(frame.event for frame in stream) for stream in told} == {("queued",)}
    assert exited_s < 5 * PATIENCE  # aiohttp by itself would wait for the streams for two minutes.
    assert code == 0


async def test_error_chunk_arrives_before_the_connection_is_broken_off(running: Running) -> None:
    body = {"model": running.history.agent(), "messages": [{"role": "user", "content": "hi"}], "stream": True}
    async with running.client.post(f"{running.base}/api/v1/chat/completions", json=body) as response:
        await next_block(response)
        (turn_id,) = running.history.turns
        await running.history.finish(turn_id, 1, [], status="failed", error=ApiError(Code.UPSTREAM_ERROR).problem())
        assert chunk_of(await next_block(response))["error"]["code"] == "upstream_error"
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.content.read()


async def test_sigterm_with_nothing_to_do_exits_at_once(running: Running) -> None:
    running.process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(running.process.wait(), 5 * PATIENCE) == 0
