"""The hub against a real Redis: subscriptions are confirmed, and lost messages are noticed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Connection, Redis

from services.gateway.streaming.hub import Hub
from services.gateway.streaming.listener import LISTENER_LIMIT
from shared.contracts.errors import ApiError, Code
from shared.contracts.frames import FrameId, encode
from shared.ids import new_id
from shared.run_log.keys import log_key
from tests.conftest import PATIENCE, eventually
from tests.service.gateway.streaming.redis_line import RedisLine

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


async def test_a_listener_that_comes_while_another_goes_receives_everything(hub: Hub, client: Redis) -> None:
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
            await client.publish(log_key(WS, turn_id), encode("x", {}, FrameId(1, 1)))
            async with asyncio.timeout(30):
                await listener.wait()
            assert listener.take() == [encode("x", {}, FrameId(1, 1))]


async def test_a_cut_connection_makes_every_listener_read_its_log(hub: Hub, client: Redis) -> None:
    async with hub.listen(WS, turn_id := new_id("trn")) as listener:
        listener.gap = False
        await client.client_kill_filter(_type="pubsub")
        await eventually(lambda: listener.gap)
        await eventually(lambda: _subscribed(client, turn_id))


async def _subscribed(client: Redis, turn_id: str) -> bool:
    return await subscribers(client, turn_id) == 1


@asynccontextmanager
async def behind_a_line(redis_url: str) -> AsyncIterator[tuple[RedisLine, Hub]]:
    """A hub that reaches its Redis by a line that can fail."""
    async with RedisLine(redis_url) as line, Hub([line.url]) as hub:
        yield line, hub


async def test_a_line_that_falls_silent_is_left_and_every_listener_reads_its_log(
    client: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.broker.pubsub.SILENCE_LIMIT_S", 0.4)
    monkeypatch.setattr("shared.broker.pubsub.PROBE_S", 0.1)
    async with behind_a_line(redis_url) as (line, hub):
        async with hub.listen(WS, turn_id := new_id("trn")) as listener:
            listener.gap = False
            line.mute()
            await client.publish(log_key(WS, turn_id), encode("lost", {}, FrameId(1, 1)))
            await eventually(lambda: listener.gap, within_s=5.0)
            listener.gap = False
            await client.publish(log_key(WS, turn_id), encode("received", {}, FrameId(1, 2)))
            await eventually(lambda: bool(listener.frames))
        assert line.connections >= 2


async def test_a_line_that_takes_nothing_is_left_too(
    client: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is sent then waits for ever, also the question whether anyone is there."""
    monkeypatch.setattr("shared.broker.pubsub.SILENCE_LIMIT_S", 0.4)
    monkeypatch.setattr("shared.broker.pubsub.PROBE_S", 0.1)
    plain, full = Connection.send_command, list[Connection]()

    async def send_command(self: Connection, *command: object, **options: object) -> None:
        if self in full:
            await asyncio.Event().wait()
        await plain(self, *command, **options)
        if command[-1] == "subscribed" and not full:
            full.append(self)  # Nothing more goes out on the first connection.

    monkeypatch.setattr(Connection, "send_command", send_command)
    async with Hub([redis_url]) as hub:
        await eventually(lambda: bool(full))

        async def is_heard() -> bool:
            with suppress(ApiError):
                async with hub.listen(WS, turn_id := new_id("trn")):
                    return await subscribers(client, turn_id) == 1
            return False

        await eventually(is_heard, within_s=5.0)


async def test_a_listener_that_takes_nothing_holds_little_and_goes_back_to_the_log(hub: Hub, client: Redis) -> None:
    async with hub.listen(WS, turn_id := new_id("trn")) as listener:
        listener.gap = False
        behind = REGISTRY.get_sample_value("parley_stream_gaps_total", {"reason": "behind"}) or 0.0
        for _ in range(20):
            await client.publish(log_key(WS, turn_id), b"x" * (LISTENER_LIMIT // 10))
        await eventually(lambda: listener.gap)
        assert listener.size == 0
        assert listener.frames == []
        assert REGISTRY.get_sample_value("parley_stream_gaps_total", {"reason": "behind"}) == behind + 1


async def test_a_hub_without_its_redis_refuses_within_a_second() -> None:
    async with Hub(["redis://127.0.0.1:1/0"]) as hub:
        started = asyncio.get_running_loop().time()
        with pytest.raises(ApiError) as refused:
            async with hub.listen(WS, new_id("trn")):
                pass
        assert refused.value.code is Code.DEPENDENCY_UNAVAILABLE
        assert asyncio.get_running_loop().time() - started < 1.0 * PATIENCE


async def test_a_hub_that_has_long_been_without_its_redis_lets_nobody_wait() -> None:
    """Only the first ones wait for a second: else an outage fills the gateway with waiting requests."""
    async with Hub(["redis://127.0.0.1:1/0"]) as hub:
        for within_s in (1.5, 0.2, 0.2):
            with pytest.raises(ApiError) as refusal:
                async with asyncio.timeout(within_s), hub.listen(WS, new_id("trn")):
                    pass
            assert refusal.value.code is Code.DEPENDENCY_UNAVAILABLE


async def is_ready(hub: Hub) -> bool:
    with suppress(ApiError):
        await hub.ready()
        return True
    return False


async def test_what_is_published_before_a_new_turns_stream_waits_is_received(hub: Hub, client: Redis) -> None:
    await eventually(lambda: is_ready(hub))
    async with hub.expect(WS, turn_id := new_id("trn")) as (listener, confirmed):
        await confirmed()
        await client.publish(log_key(WS, turn_id), encode("x", {}, FrameId(1, 1)))
        await eventually(lambda: bool(listener.frames))
        assert not listener.gap
        assert listener.take() == [encode("x", {}, FrameId(1, 1))]
        await client.client_kill_filter(_type="pubsub")
        await eventually(lambda: listener.gap)


async def test_a_turn_to_come_is_admitted_while_its_subscription_is_confirmed(
    hub: Hub, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await eventually(lambda: is_ready(hub))
    go_on = asyncio.Event()
    plain = Connection.send_command

    async def send_command(self: Connection, *command: object, **options: object) -> None:
        if command[0] == "SUBSCRIBE":
            await go_on.wait()
        await plain(self, *command, **options)

    monkeypatch.setattr(Connection, "send_command", send_command)
    async with asyncio.timeout(30), hub.expect(WS, turn_id := new_id("trn")) as (listener, confirmed):
        assert await subscribers(client, turn_id) == 0
        go_on.set()
        await confirmed()
        assert await subscribers(client, turn_id) == 1
        assert not listener.gap


async def test_a_store_that_falls_silent_under_an_admission_costs_it_a_read_of_the_log(
    client: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The turn is accepted by then, and must not be refused."""
    monkeypatch.setattr("shared.broker.pubsub.SILENCE_LIMIT_S", 2.0)
    monkeypatch.setattr("services.gateway.streaming.hub.SUBSCRIBE_TIMEOUT_S", 0.3)
    async with behind_a_line(redis_url) as (line, hub):
        await eventually(lambda: is_ready(hub))
        line.mute()
        async with hub.expect(WS, turn_id := new_id("trn")) as (listener, confirmed):
            await confirmed()
            assert listener.gap
            await eventually(lambda: _subscribed(client, turn_id))


async def test_a_store_that_has_not_answered_lately_must_confirm_first(
    client: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.broker.pubsub.SILENCE_LIMIT_S", 20.0)
    monkeypatch.setattr("services.gateway.streaming.hub.SUBSCRIBE_TIMEOUT_S", 0.3)
    monkeypatch.setattr("shared.broker.pubsub.FRESH_S", 0.2)
    monkeypatch.setattr("shared.broker.pubsub.PROBE_S", 0.1)
    async with behind_a_line(redis_url) as (line, hub):
        await eventually(lambda: is_ready(hub))
        line.mute()
        await eventually(lambda: not hub._shards[0].is_fresh)
        with pytest.raises(ApiError) as refused:
            async with hub.expect(WS, new_id("trn")):
                raise AssertionError("a turn would be admitted")
        assert refused.value.code is Code.DEPENDENCY_UNAVAILABLE


async def test_a_store_whose_connection_ended_a_moment_ago_is_not_taken_for_there(hub: Hub) -> None:
    """A request that comes with the end of the connection must not be accepted: its store has just died."""
    await eventually(lambda: is_ready(hub))
    shard = hub._shards[0]
    assert shard.is_fresh
    assert shard._connection is not None
    assert shard._connection._reader is not None
    shard._connection._reader.feed_eof()
    assert not shard.is_fresh
