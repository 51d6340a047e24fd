"""Requests per minute over several gateways: one count in Redis, and one of each gateway's own while Redis is away."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Final

import pytest
from redis.asyncio import Redis

from deploy.local.stores import Server
from services.gateway.edge import rates as rates_module
from services.gateway.edge.rates import KEY, RequestRates
from shared.broker import batches
from tests.conftest import PATIENCE, eventually

GATEWAYS: Final = 3
# A slow host must not make a gateway count alone: that is for a Redis that does not answer.
PATIENT_S: Final = batches.ANSWER_S * PATIENCE * 4


@pytest.fixture
async def gateways(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[RequestRates]]:
    monkeypatch.setattr(batches, "ANSWER_S", PATIENT_S)
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(RequestRates(redis_url)) for _ in range(GATEWAYS)]


async def flood(gateways: list[RequestRates], count: int, per_minute: int, name: str = "key:a") -> int:
    """How many of so many requests, sent to all gateways in turn and many at once, were counted."""
    allowances = await asyncio.gather(
        *(gateways[number % len(gateways)].take(name, per_minute) for number in range(count))
    )
    return sum(allowance.retry_s == 0 for allowance in allowances)


@pytest.mark.parametrize("per_minute", [7, 600, 3001])
async def test_three_gateways_allow_together_what_one_would(gateways: list[RequestRates], per_minute: int) -> None:
    began = time.monotonic()
    taken = await flood(gateways, per_minute * 2, per_minute)
    refilled = (time.monotonic() - began) * per_minute / 60
    assert per_minute <= taken <= (per_minute + refilled) * 1.02 + 1


async def test_requests_come_back_evenly(gateways: list[RequestRates]) -> None:
    per_minute, began = 1200, time.monotonic()
    taken = await flood(gateways, per_minute, per_minute)
    while time.monotonic() - began < 2:
        taken += await flood(gateways, GATEWAYS, per_minute)
        await asyncio.sleep(0)
    last = [await gateway.take("key:a", per_minute) for gateway in gateways][-1]
    elapsed = time.monotonic() - began
    assert taken + GATEWAYS <= (per_minute + elapsed * per_minute / 60) * 1.02 + GATEWAYS
    assert last.remaining <= per_minute * 0.02


async def test_names_are_counted_apart_and_a_request_can_be_given_back(gateways: list[RequestRates]) -> None:
    one, two, _ = gateways
    assert (await one.take("key:a", 2)).remaining == 1
    assert (await two.take("key:b", 2)).remaining == 1
    await two.give_back("key:a", 2)
    assert (await one.take("key:a", 2)).remaining == 1
    await one.give_back("key:never", 2)
    assert (await one.take("key:never", 2)).remaining == 1


async def test_a_refusal_says_truly_when_to_come_back(gateways: list[RequestRates]) -> None:
    one, two, _ = gateways
    per_minute = 600
    await flood(gateways, per_minute, per_minute)
    refused = [await one.take("key:a", per_minute) for _ in range(20)][-1]
    while refused.retry_s == 0:
        refused = await one.take("key:a", per_minute)
    assert 0 < refused.retry_s <= 60 / per_minute
    assert refused.remaining == 0
    assert 59 < refused.reset_s <= 60
    await asyncio.sleep(refused.retry_s)
    assert (await two.take("key:a", per_minute)).retry_s == 0


async def test_refused_requests_do_not_ask_redis_again(gateways: list[RequestRates], redis_url: str) -> None:
    one = gateways[0]
    assert await flood([one], 2, 1) == 1
    async with Redis.from_url(redis_url) as redis:
        before = (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
        assert await flood([one], 1000, 1) == 0
        assert (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"] == before


@pytest.mark.parametrize("shift_s", [-3600, 3600], ids=["back", "forward"])
async def test_a_clock_that_jumps_refuses_for_a_minute_at_most(
    gateways: list[RequestRates], redis_url: str, shift_s: int
) -> None:
    """A jump of Redis' clock looks like a stored time of the other direction."""
    one, per_minute = gateways[0], 60
    await one.take("key:a", per_minute)
    async with Redis.from_url(redis_url) as redis:
        stored = float(await redis.get(f"{KEY}key:a") or 0)
        await redis.set(f"{KEY}key:a", f"{stored - shift_s * 1_000_000:.2f}")
    allowance = await one.take("key:a", per_minute)
    assert allowance.retry_s <= 60 / per_minute
    assert allowance.reset_s <= 60
    assert (allowance.retry_s > 0) == (shift_s < 0)


async def test_a_count_is_gone_from_redis_after_a_minute(gateways: list[RequestRates], redis_url: str) -> None:
    await gateways[0].take("key:a", 60)
    async with Redis.from_url(redis_url) as redis:
        assert 0 < await redis.pttl(f"{KEY}key:a") <= 1001
        await flood(gateways, 120, 60)
        assert 59_000 <= await redis.pttl(f"{KEY}key:a") <= 60_001


async def test_an_outage_leaves_each_gateway_its_own_count_and_then_they_share_one_again(
    gateways: list[RequestRates], redis_url: str, redis_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates_module, "ASK_AGAIN_S", 0.05)
    per_minute, began = 600, time.monotonic()
    before = await flood(gateways, per_minute * 2, per_minute)
    os.kill(redis_server.pid, signal.SIGSTOP)
    try:
        monkeypatch.setattr(batches, "ANSWER_S", 0.05)
        alone = await flood(gateways, per_minute * GATEWAYS * 2, per_minute, "key:b")
    finally:
        os.kill(redis_server.pid, signal.SIGCONT)
    monkeypatch.setattr(batches, "ANSWER_S", PATIENT_S)
    await eventually(lambda: _shared(gateways, redis_url), what="the common count")
    after = await flood(gateways, per_minute * 2, per_minute, "key:c")
    refilled = (time.monotonic() - began) * per_minute / 60
    assert per_minute <= before <= (per_minute + refilled) * 1.02
    assert GATEWAYS * per_minute <= alone <= GATEWAYS * (per_minute + refilled) * 1.02
    assert per_minute <= after <= (per_minute + refilled) * 1.02


async def _shared(gateways: list[RequestRates], url: str) -> bool:
    """Whether all gateways count in Redis again: each leaves its name there."""
    async with Redis.from_url(url) as redis:
        for number, gateway in enumerate(gateways):
            await gateway.take(f"key:probe {number}", 600)
            if not await redis.exists(f"{KEY}key:probe {number}"):
                return False
    return True
