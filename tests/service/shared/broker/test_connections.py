"""Connections to Redis: every call ends in time, also when the server accepts and then stays silent."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from redis.exceptions import RedisError, ResponseError

from shared.broker.client import connect
from shared.broker.connections import ConnectionSet, PipelinedConnection
from shared.broker.redis_py import connection_pool
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


async def test_a_clients_command_fails_in_time_however_often_it_is_tried(silent_url: str) -> None:
    client = connect(silent_url, connections=2)
    try:
        for _ in range(5):
            await fails_in_time(client.ping)
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
            (idle,) = client.connections._free
            opened = idle._connection
            assert opened is not None
            # Closed with this option a connection ends in a reset, which its peer gets as an error and not as an end.
            writers[0].get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writers[0].transport.abort()
            reader = opened._reader
            assert reader is not None
            await eventually(lambda: reader.exception() is not None)
            assert await client.ping()
            assert len(writers) == 2
        finally:
            await client.aclose()
            writers[-1].close()


async def _is_alone(client: Any) -> bool:
    return len(await client.client_list()) == 1


async def test_a_connection_fails_in_time_and_connects_again(silent_url: str) -> None:
    connection = PipelinedConnection(connection_pool(silent_url))
    try:
        for _ in range(3):
            await fails_in_time(lambda: connection.call(b"PING"))
    finally:
        await connection.close()


async def test_pipelined_commands_are_answered_one_by_one(redis_url: str) -> None:
    connection = PipelinedConnection(connection_pool(redis_url))
    try:
        first, second, third = await connection.calls(("SET", "a", "1"), ("LPUSH", "a", "x"), ("GET", "a"))
        assert (first, third) == (b"OK", b"1")
        assert isinstance(second, ResponseError)
        with pytest.raises(ResponseError):
            await connection.call("LPUSH", "a", "x")
        assert await connection.call("GET", "a") == b"1", "an error is an answer like any other"
    finally:
        await connection.close()


async def test_connections_are_bounded_and_reused_and_have_one_caller_each(redis_url: str) -> None:
    connections, other = ConnectionSet(connection_pool(redis_url), 3), connect(redis_url)
    try:
        before = len(await other.client_list())
        answers = await asyncio.gather(*(connections.call("ECHO", str(number)) for number in range(50)))
        assert answers == [str(number).encode() for number in range(50)]
        assert len(await other.client_list()) <= before + 3
        blocked = [asyncio.create_task(connections.call("BLPOP", f"none:{number}", 1)) for number in range(3)]
        assert await connections.call("ECHO", "it waited for a free one") == b"it waited for a free one"
        await asyncio.gather(*blocked)
    finally:
        await connections.close()
        await other.aclose()


async def test_connections_of_a_set_that_the_server_closed_are_replaced_before_anybody_notices(redis_url: str) -> None:
    connections, other = ConnectionSet(connection_pool(redis_url), 2), connect(redis_url)
    try:
        for _ in range(3):
            await asyncio.gather(connections.call("PING"), connections.call("PING"))
            await other.client_kill_filter(skipme=True)
            await eventually(lambda: _is_alone(other))
            assert list(await asyncio.gather(connections.call("PING"), connections.call("PING"))) == [b"PONG", b"PONG"]
    finally:
        await connections.close()
        await other.aclose()


async def test_waiting_for_a_connection_takes_no_longer_than_a_call(silent_url: str) -> None:
    connections = ConnectionSet(connection_pool(silent_url), 1)
    try:
        await asyncio.gather(*(fails_in_time(lambda: connections.call("PING")) for _ in range(3)))
    finally:
        await connections.close()
