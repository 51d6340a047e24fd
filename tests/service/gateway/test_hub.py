"""The hub's promises against a real Redis: confirmed before it is believed, and nothing counted as heard that may be lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from redis.asyncio import Redis

from services.gateway.hub import LISTENER_LIMIT, Hub
from shared.contracts.errors import ApiError, Code
from shared.ids import new_id
from shared.run_log import log_key
from tests.conftest import eventually

WS = "ws"


@pytest.fixture
async def hub(redis_url: str) -> AsyncIterator[Hub]:
    async with Hub([redis_url]) as hub:
        yield hub


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        yield client


async def subscribers(client: Redis, turn_id: str) -> int:
    ((_, count),) = await client.pubsub_numsub(log_key(WS, turn_id))
    return int(count)


async def test_a_listener_is_subscribed_when_it_is_there_and_not_any_more_afterwards(hub: Hub, client: Redis) -> None:
    turn_id = new_id("trn")
    async with hub.listen(WS, turn_id), hub.listen(WS, turn_id):
        assert await subscribers(client, turn_id) == 1
    await eventually(lambda: _nobody(client, turn_id))


async def _nobody(client: Redis, turn_id: str) -> bool:
    return await subscribers(client, turn_id) == 0


async def test_a_listener_that_comes_while_another_goes_is_not_deaf(hub: Hub, client: Redis) -> None:
    """The second must not take the first one's late confirmation for its own."""
    turn_id = new_id("trn")

    async def give_up() -> None:
        async with asyncio.timeout(0):
            async with hub.listen(WS, turn_id):
                pass

    for _ in range(50):
        with suppress(TimeoutError, ApiError):
            await give_up()
        async with hub.listen(WS, turn_id) as listener:
            assert await subscribers(client, turn_id) == 1
            listener.gap = False
            await client.publish(log_key(WS, turn_id), b"id: 1-1\nevent: x\n\n")
            async with asyncio.timeout(5):
                await listener.wait()
            assert listener.take() == [b"id: 1-1\nevent: x\n\n"]


async def test_a_cut_connection_makes_every_listener_read_its_log(hub: Hub, client: Redis) -> None:
    async with hub.listen(WS, turn_id := new_id("trn")) as listener:
        listener.gap = False
        await client.client_kill_filter(_type="pubsub")
        await eventually(lambda: listener.gap)
        await eventually(lambda: _subscribed(client, turn_id))


async def _subscribed(client: Redis, turn_id: str) -> bool:
    return await subscribers(client, turn_id) == 1


async def test_a_listener_that_takes_nothing_holds_little_and_goes_back_to_the_log(hub: Hub, client: Redis) -> None:
    async with hub.listen(WS, turn_id := new_id("trn")) as listener:
        listener.gap = False
        for _ in range(20):
            await client.publish(log_key(WS, turn_id), b"x" * (LISTENER_LIMIT // 10))
        await eventually(lambda: listener.gap)
        assert listener.size == 0
        assert listener.frames == []


async def test_a_hub_without_its_redis_refuses_within_a_second() -> None:
    async with Hub(["redis://127.0.0.1:1/0"]) as hub:
        started = asyncio.get_running_loop().time()
        with pytest.raises(ApiError) as refused:
            async with hub.listen(WS, new_id("trn")):
                pass
        assert refused.value.code is Code.DEPENDENCY_UNAVAILABLE
        assert asyncio.get_running_loop().time() - started < 2


async def test_a_hub_that_has_long_been_without_its_redis_lets_nobody_wait() -> None:
    """A second for each of the first, nothing for those who come later: else an outage fills the gateway with waiting requests."""
    async with Hub(["redis://127.0.0.1:1/0"]) as hub:
        for within_s in (1.5, 0.2, 0.2):
            with pytest.raises(ApiError) as refusal:
                async with asyncio.timeout(within_s), hub.listen(WS, new_id("trn")):
                    pass
            assert refusal.value.code is Code.DEPENDENCY_UNAVAILABLE


async def test_what_is_published_before_a_new_turns_stream_waits_is_heard(hub: Hub, client: Redis) -> None:
    async with hub.listen(WS, turn_id := new_id("trn"), before_its_first_frame=True) as listener:
        await client.publish(log_key(WS, turn_id), b"id: 1-1\nevent: x\n\n")
        await eventually(lambda: bool(listener.frames))
        assert not listener.gap
        assert listener.take() == [b"id: 1-1\nevent: x\n\n"]
        await client.client_kill_filter(_type="pubsub")
        await eventually(lambda: listener.gap)
