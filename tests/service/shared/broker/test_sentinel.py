import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from shared.broker.client import Client, connect
from shared.broker.pubsub import PubSub
from shared.broker.redis_py import connection_pool, new_connection
from tests.conftest import eventually
from tests.sentinels import WatchedRedis


class Heard:
    def __init__(self) -> None:
        self.messages: list[bytes] = []

    def deliver(self, message: bytes) -> None:
        self.messages.append(message)

    def lose(self) -> None:
        pass


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedRedis]:
    watched = WatchedRedis(tmp_path_factory.mktemp("sentinel"))
    yield watched
    watched.stop()


@pytest.fixture
async def client(watched: WatchedRedis) -> AsyncIterator[Client]:
    client = connect(watched.url)
    yield client
    await client.aclose()


async def test_a_client_writes_to_the_master_with_its_password(watched: WatchedRedis, client: Client) -> None:
    await client.set("a", "1")
    with watched.server(watched.master_port()) as master:
        assert master.get("a") == b"1"


async def test_an_unknown_master_is_an_outage(watched: WatchedRedis) -> None:
    connection = new_connection(connection_pool(watched.url.replace("/mymaster/", "/other/")))
    with pytest.raises(RedisConnectionError, match="no Sentinel names a master"):
        await connection.connect()  # type: ignore[no-untyped-call]


async def test_a_sentinel_that_does_not_answer_is_passed_over(watched: WatchedRedis) -> None:
    client = connect(watched.url.replace("@", "@127.0.0.1:9,"))
    try:
        assert await client.ping()
    finally:
        await client.aclose()


@pytest.mark.long
async def test_after_a_fail_over_commands_and_subscriptions_reach_the_new_master(
    watched: WatchedRedis, client: Client
) -> None:
    heard, pubsub = Heard(), PubSub(watched.url)
    pubsub.keep(b"channel", heard)
    running = asyncio.create_task(pubsub.run())
    try:
        await asyncio.wait_for(pubsub.connected.wait(), 10.0)
        await client.set("a", "1")
        old, new = await asyncio.to_thread(watched.fail_over)

        async def is_heard() -> bool:
            try:
                await client.publish("channel", "after")
            except (RedisError, OSError):
                return False
            return b"after" in heard.messages

        await eventually(is_heard, within_s=30.0, what="a message by the new master")
        assert await client.set("b", "2")
        with watched.server(new) as master:
            assert master.get("b") == b"2"
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    watched.start_server(old, old)  # It comes back as a master, until the Sentinels make it a replica.


async def test_a_master_that_becomes_a_replica_is_left_for_the_new_one(watched: WatchedRedis, client: Client) -> None:
    """As after the operator's own REPLICAOF, which, other than a Sentinel's, ends no connections."""
    await client.set("a", "1")
    old = watched.master_port()
    other = next(port for port in watched.ports if port != old and watched.processes[port].poll() is None)
    plain = connect(f"redis://:p%40ss%2Cword@127.0.0.1:{old}/0", connections=1)
    try:
        await plain.set("a", "2")
        with watched.server(old) as server:
            server.replicaof("127.0.0.1", str(other))
        for kept in (plain, client):
            with pytest.raises(ConnectionError, match="takes no writes"):
                await kept.set("a", "3")
    finally:
        await plain.aclose()
