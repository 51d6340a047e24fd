"""The stream driver's promises that no protocol changes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.service.gateway.fakes import Stage, stage
from tests.service.gateway.reading import frames, next_block
from tests.service.gateway.streaming.redis_line import RedisLine

HEARTBEAT_S = 0.6  # Longer than the pause between two reads of a log that does not answer.


@asynccontextmanager
async def open_stream(gateway: Stage, protocol: str) -> AsyncIterator[aiohttp.ClientResponse]:
    """A stream whose turn has not started yet; its first block has been read."""
    body: dict[str, Any] = {"stream": True}
    if protocol == "session":
        path = f"/chat/sessions/{await gateway.session()}/messages"
        body["content"] = "hi"
    else:
        path = "/chat/completions"
        body |= {"model": gateway.agent_id, "messages": [{"role": "user", "content": "hi"}]}
    async with gateway.client.post(gateway.url(path), json=body) as response:
        assert response.status == 200, await response.text()
        await next_block(response)
        yield response


async def count_pings(response: aiohttp.ClientResponse, count: int) -> None:
    seen = b""
    async with asyncio.timeout(10):
        while seen.count(b": ping\n\n") < count:
            seen += await response.content.readany()


@pytest.mark.parametrize("protocol", ["session", "completion"])
async def test_pings_go_on_while_redis_refuses_connections(
    redis_url: str, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.gateway.streaming.hub.HEARTBEAT_S", HEARTBEAT_S)
    async with RedisLine(redis_url) as line, stage(line.url) as gateway, open_stream(gateway, protocol) as response:
        line.refuse()
        await count_pings(response, 4)


@pytest.mark.parametrize("protocol", ["session", "completion"])
async def test_pings_go_on_while_redis_does_not_answer(
    redis_url: str, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read of the log then waits for its timeout, which is longer than clients wait for a sign of life."""
    monkeypatch.setattr("services.gateway.streaming.hub.HEARTBEAT_S", HEARTBEAT_S)
    monkeypatch.setattr("shared.broker.connections.CALL_TIMEOUT_S", 60.0)
    async with RedisLine(redis_url) as line, stage(line.url) as gateway, open_stream(gateway, protocol) as response:
        line.mute(also_new=True)
        await count_pings(response, 4)
        line.refuse()


@pytest.mark.parametrize("protocol", ["session", "completion"])
async def test_pings_go_on_while_history_does_not_answer(
    redis_url: str, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.gateway.streaming.hub.HEARTBEAT_S", HEARTBEAT_S)

    async def never(*_: Any) -> Any:
        await asyncio.Event().wait()

    async with stage(redis_url) as gateway, open_stream(gateway, protocol) as response:
        monkeypatch.setattr(gateway.dependencies.turn_status, "state", never)
        await count_pings(response, 4)


async def test_a_stream_that_was_kept_alive_by_pings_gets_its_whole_answer(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.gateway.streaming.hub.HEARTBEAT_S", 0.1)
    async with stage(redis_url) as gateway, open_stream(gateway, "session") as response:
        await count_pings(response, 3)
        await gateway.answer(await gateway.admitted(), "one ", "two")
        got = await frames(response)
    assert [frame.event for frame in got] == ["started", "delta", "delta", "done"]
    assert "".join(frame.data.get("text", "") for frame in got) == "one two"
