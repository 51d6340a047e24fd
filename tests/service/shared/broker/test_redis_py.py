"""The private members of redis-py that `shared/broker/redis_py.py` relies on.

If one of these fails, read that file again.
"""

import asyncio
import inspect
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import DataError

from shared.broker.client import connect
from shared.broker.redis_py import connection_pool, is_open, new_connection, write


async def test_an_open_connection_shows_its_reader_and_writer(redis_url: str) -> None:
    connection = new_connection(connection_pool(redis_url))
    assert not is_open(connection)
    await connection.connect()  # type: ignore[no-untyped-call]
    assert isinstance(connection._reader, asyncio.StreamReader)
    assert isinstance(connection._writer, asyncio.StreamWriter)
    assert is_open(connection)
    write(connection, b"*1\r\n$4\r\nPING\r\n")
    assert await connection.read_response() == b"PONG"
    await connection.disconnect(nowait=True)
    assert not is_open(connection)
    with pytest.raises(ConnectionError):
        write(connection, b"x")


async def test_a_new_connection_is_unknown_to_its_pool(redis_url: str) -> None:
    pool = connection_pool(redis_url)
    connection = new_connection(pool)
    await connection.connect()  # type: ignore[no-untyped-call]
    assert pool._available_connections == []
    assert not pool._in_use_connections
    await connection.disconnect(nowait=True)


async def test_a_refused_connection_fails_at_once_without_a_retry() -> None:
    connection = new_connection(connection_pool("redis://127.0.0.1:9/0"))
    with pytest.raises((RedisConnectionError, OSError)):
        await connection.connect()  # type: ignore[no-untyped-call]


def test_redis_pys_own_parsing_is_what_ours_replaces() -> None:
    source = inspect.getsource(Redis.parse_response)
    assert "self.response_callbacks[command_name](response, **options)" in source
    assert 'options.pop("keys", None)' in source
    assert "_reader" in inspect.getsource(AbstractConnection.__init__)
    assert "_writer" in inspect.getsource(AbstractConnection.__init__)


async def test_answers_are_parsed_as_redis_pys_own_client_parses_them(redis_url: str) -> None:
    async def answers(client: Any) -> list[Any]:
        await client.flushdb()
        return [
            await client.set("a", 1.5),
            await client.get("a"),
            await client.hset("h", mapping={"x": 1, "y": b"\xff"}),
            await client.hgetall("h"),
            await client.zadd("z", {"one": 1}),
            await client.zrange("z", 0, -1, withscores=True),
            await client.xgroup_create("s", "g", id="0", mkstream=True),
            await client.xadd("s", {"f": "v"}, id="1-1"),
            await client.xrange("s"),
            await client.xreadgroup("g", "c", {"s": ">"}),
            [consumer["name"] for consumer in await client.xinfo_consumers("s", "g")],
            (await client.xautoclaim("s", "g", "d", min_idle_time=0))[1],
            await client.exists("a", "none"),
            await client.dump("none"),
            await client.ping(),
        ]

    ours, theirs = connect(redis_url), Redis.from_url(redis_url)
    try:
        assert await answers(ours) == await answers(theirs)
        with pytest.raises(DataError):
            await ours.execute_command("SET", "a", None)
        assert await ours.get("a") is not None, "nothing was sent, and the connection is in order"
    finally:
        await ours.aclose()
        await theirs.aclose()
