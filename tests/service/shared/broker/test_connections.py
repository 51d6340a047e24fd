"""A Redis that accepts and then says nothing holds up nobody for longer than a call may take."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from redis.exceptions import RedisError, ResponseError

from shared.broker.connections import Wire, Wires, connect, connection_pool
from tests.conftest import eventually

PATIENCE_S = 0.2


@pytest.fixture
async def silent_url(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    monkeypatch.setattr("shared.broker.connections.CALL_TIMEOUT_S", PATIENCE_S)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"


async def fails_in_time(call: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(PATIENCE_S + 2.0):
        with pytest.raises((RedisError, OSError)):
            await call()


async def test_a_pooled_command_fails_in_time_however_often_it_is_tried(silent_url: str) -> None:
    client = connect(silent_url, connections=2)
    try:
        for _ in range(5):
            await fails_in_time(client.ping)
    finally:
        await client.aclose()


async def test_what_speaks_without_a_command_of_its_own_fails_in_time_too(silent_url: str) -> None:
    """Pipelines and subscriptions dial through the pool, past the command that is timed."""
    client = connect(silent_url, connections=2)
    try:
        for _ in range(3):
            pipeline: Any = client.pipeline()
            await fails_in_time(pipeline.ping().execute)
            async with client.pubsub() as channel:
                await fails_in_time(partial(channel.subscribe, "x"))
    finally:
        await client.aclose()


async def test_a_connection_that_the_server_closed_is_replaced_before_anybody_notices(redis_url: str) -> None:
    client, other = connect(redis_url, connections=2), connect(redis_url)
    try:
        for _ in range(3):
            await asyncio.gather(client.ping(), client.ping())
            await other.client_kill_filter(skipme=True)
            await eventually(lambda: _is_alone(other))
            await asyncio.gather(client.ping(), client.ping())
    finally:
        await client.aclose()
        await other.aclose()


async def test_a_connection_that_was_reset_is_replaced_before_anybody_notices() -> None:
    writers: list[asyncio.StreamWriter] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        while asked := await reader.read(4096):
            writer.write(b"+PONG\r\n" * asked.count(b"*"))

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        client = connect(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", connections=1)
        try:
            assert await client.ping()
            (pooled,) = client.connection_pool._available_connections
            # Closed with this option a connection ends in a reset, which its peer gets as an error and not as an end.
            writers[0].get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writers[0].transport.abort()
            reader = pooled._reader
            assert reader is not None
            await eventually(lambda: reader.exception() is not None)
            assert await client.ping()
            assert len(writers) == 2
        finally:
            await client.aclose()
            writers[-1].close()


async def _is_alone(client: Any) -> bool:
    return len(await client.client_list()) == 1


async def test_a_wire_fails_in_time_and_dials_anew(silent_url: str) -> None:
    wire = Wire(connection_pool(silent_url))
    try:
        for _ in range(3):
            await fails_in_time(lambda: wire.call(b"PING"))
    finally:
        await wire.close()


async def test_commands_that_are_sent_in_one_go_are_answered_one_by_one(redis_url: str) -> None:
    wire = Wire(connection_pool(redis_url))
    try:
        first, second, third = await wire.calls(("SET", "a", "1"), ("LPUSH", "a", "x"), ("GET", "a"))
        assert (first, third) == (b"OK", b"1")
        assert isinstance(second, ResponseError)
        with pytest.raises(ResponseError):
            await wire.call("LPUSH", "a", "x")
        assert await wire.call("GET", "a") == b"1", "an error is an answer like any other"
    finally:
        await wire.close()


async def test_wires_are_bounded_reused_and_each_callers_own(redis_url: str) -> None:
    wires, other = Wires(connection_pool(redis_url), 3), connect(redis_url)
    try:
        before = len(await other.client_list())
        answers = await asyncio.gather(*(wires.call("ECHO", str(number)) for number in range(50)))
        assert answers == [str(number).encode() for number in range(50)]
        assert len(await other.client_list()) <= before + 3
        blocked = [asyncio.create_task(wires.call("BLPOP", f"none:{number}", 1)) for number in range(3)]
        assert await wires.call("ECHO", "it waited for a free one") == b"it waited for a free one"
        await asyncio.gather(*blocked)
    finally:
        await wires.close()
        await other.aclose()


async def test_wires_that_the_server_closed_are_replaced_before_anybody_notices(redis_url: str) -> None:
    wires, other = Wires(connection_pool(redis_url), 2), connect(redis_url)
    try:
        for _ in range(3):
            await asyncio.gather(wires.call("PING"), wires.call("PING"))
            await other.client_kill_filter(skipme=True)
            await eventually(lambda: _is_alone(other))
            assert list(await asyncio.gather(wires.call("PING"), wires.call("PING"))) == [b"PONG", b"PONG"]
    finally:
        await wires.close()
        await other.aclose()


async def test_who_waits_for_a_wire_of_a_silent_store_waits_no_longer_than_a_call(silent_url: str) -> None:
    wires = Wires(connection_pool(silent_url), 1)
    try:
        await asyncio.gather(*(fails_in_time(lambda: wires.call("PING")) for _ in range(3)))
    finally:
        await wires.close()
