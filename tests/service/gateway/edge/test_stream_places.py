"""Open streams per key over several gateways: places under leases in Redis, and each gateway alone while it is away."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import pytest
from redis.asyncio import Redis

from deploy.local.stores import Server
from services.gateway.edge import rates as rates_module
from services.gateway.edge import route, stream_places
from services.gateway.edge.limits import GatewayLimits
from services.gateway.edge.rates import RequestRates
from services.gateway.edge.stream_places import KEY, Place
from services.gateway.route_table import ROUTES
from shared.broker import batches
from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import Principal, Scope
from tests.conftest import PATIENCE, eventually
from tests.service.gateway.fakes import stage

LIMIT: Final = 10
PATIENT_S: Final = batches.ANSWER_S * PATIENCE * 4
CALLER: Final = Principal(key_id="key_a", workspace="w", scopes=frozenset())
SET: Final = KEY + CALLER.key_id


def gateway_limits(rates: RequestRates, requests_per_minute: int) -> GatewayLimits:
    return GatewayLimits(
        rates, requests_per_minute=requests_per_minute, streams_per_key=LIMIT, streams_limit=10 * LIMIT
    )


@pytest.fixture(params=[0, 6000], ids=["unlimited requests", "limited requests"])
async def gateways(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> AsyncIterator[list[GatewayLimits]]:
    monkeypatch.setattr(batches, "ANSWER_S", PATIENT_S)
    monkeypatch.setattr(stream_places, "RENEW_EVERY_S", 0.05)
    async with AsyncExitStack() as stack:
        rates = [await stack.enter_async_context(RequestRates(redis_url)) for _ in range(3)]
        yield [gateway_limits(each, request.param) for each in rates]


async def taken(limits: GatewayLimits) -> Place:
    place = limits.place(CALLER)
    await limits.request(CALLER, place)
    return place


def may_hold(limits: GatewayLimits, place: Place) -> bool:
    try:
        with limits.hold(CALLER.key_id, place):
            return True
    except ApiError as error:
        return error.code is not Code.RATE_LIMITED


async def places_in(redis_url: str) -> int:
    async with Redis.from_url(redis_url) as redis:
        return int(await redis.zcard(SET))


async def test_gateways_hold_together_what_one_would(gateways: list[GatewayLimits], redis_url: str) -> None:
    each = [gateways[number % 3] for number in range(LIMIT * 3)]
    places = await asyncio.gather(*(taken(limits) for limits in each))
    assert sum(may_hold(limits, place) for limits, place in zip(each, places, strict=True)) == LIMIT
    assert await places_in(redis_url) == LIMIT
    for limits, place in zip(each, places, strict=True):
        limits.leave(place)
    # A return is sent before what the same gateway asks next, and within moments by itself.
    await eventually(lambda: _is_empty(redis_url), what="the places")
    assert may_hold(gateways[1], await taken(gateways[1]))


async def _is_empty(redis_url: str) -> bool:
    return await places_in(redis_url) == 0


async def test_a_place_that_was_returned_is_free_for_the_next_request(gateways: list[GatewayLimits]) -> None:
    one = gateways[0]
    places = [await taken(one) for _ in range(LIMIT)]
    assert not may_hold(one, await taken(one))
    one.leave(places[0])
    assert may_hold(one, await taken(one))


async def test_a_place_is_renewed_for_as_long_as_it_is_held(gateways: list[GatewayLimits], redis_url: str) -> None:
    place = await taken(gateways[0])
    async with Redis.from_url(redis_url) as redis:
        first = await redis.zscore(SET, place.id) or 0.0

        async def is_later() -> bool:
            return (await redis.zscore(SET, place.id) or 0.0) > first

        await eventually(is_later, what="the renewal")
        gateways[0].leave(place)
        await eventually(lambda: _is_empty(redis_url), what="the return")
        await redis.flushall()
        place = await taken(gateways[0])
        await redis.flushall()
        await eventually(lambda: redis.exists(SET), what="the place after a flush")


async def test_places_of_a_gateway_that_is_gone_lapse(
    gateways: list[GatewayLimits], redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_places, "LEASE_S", 0.3)
    await gateways[0].loops.end()
    for _ in range(LIMIT):
        await taken(gateways[0])

    async def is_free() -> bool:
        place = await taken(gateways[1])
        gateways[1].leave(place)
        return may_hold(gateways[1], place)

    await eventually(is_free, what="the places of the gateway that is gone")


@pytest.mark.parametrize("shift_s", [-3600, 3600], ids=["back", "forward"])
async def test_a_clock_that_jumps_takes_no_place_for_longer_than_a_lease(
    gateways: list[GatewayLimits], redis_url: str, shift_s: int
) -> None:
    """A jump of Redis' clock looks like stored times of the other direction."""
    await gateways[0].loops.end()
    for _ in range(LIMIT):
        await taken(gateways[0])
    async with Redis.from_url(redis_url) as redis:
        for name, score in await redis.zrange(SET, 0, -1, withscores=True):
            await redis.zadd(SET, {name: score - shift_s * 1000})
    assert may_hold(gateways[1], await taken(gateways[1]))


async def test_a_request_that_is_cut_off_while_it_takes_a_place_leaves_none(
    gateways: list[GatewayLimits], redis_url: str
) -> None:
    one = gateways[0]
    place = one.place(CALLER)
    asking = asyncio.create_task(one.request(CALLER, place))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    one.leave(place)
    last = await taken(one)  # It is asked behind both.
    one.leave(last)
    await eventually(lambda: _is_empty(redis_url), what="the places")


async def test_a_request_over_its_rate_takes_no_place(redis_url: str) -> None:
    async with RequestRates(redis_url) as rates:
        limits = gateway_limits(rates, 1)
        first = await taken(limits)
        await taken(limits)
        assert await places_in(redis_url) == 1
        limits.leave(first)


async def test_an_outage_leaves_each_gateway_its_own_count_and_then_all_is_counted(
    gateways: list[GatewayLimits], redis_url: str, redis_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates_module, "ASK_AGAIN_S", 0.05)
    one, two, three = gateways
    os.kill(redis_server.pid, signal.SIGSTOP)
    try:
        monkeypatch.setattr(batches, "ANSWER_S", 0.05)
        held = [(limits, await taken(limits)) for limits in (one, two) for _ in range(LIMIT - 1)]
        assert all(may_hold(limits, place) for limits, place in held)
    finally:
        os.kill(redis_server.pid, signal.SIGCONT)
    monkeypatch.setattr(batches, "ANSWER_S", PATIENT_S)

    async def all_are_counted() -> bool:
        return await places_in(redis_url) == len(held)

    await eventually(all_are_counted, what="the places that were taken without Redis")
    assert not may_hold(three, await taken(three))
    for limits, place in held:
        limits.leave(place)
    await eventually(lambda: _is_empty(redis_url), what="the places")


async def test_a_key_with_a_stream_at_one_gateway_is_refused_at_the_other(redis_url: str) -> None:
    async with (
        stage(redis_url, streams_per_key=1) as one,
        stage(redis_url, streams_per_key=1, history=one.history) as two,
    ):
        session, headers = await one.session(), {"Authorization": f"Bearer {one.key}"}
        path, body = f"/chat/sessions/{session}/messages", {"content": "hi", "stream": True}
        response = await one.client.post(one.url(path), json=body)
        assert response.status == 200
        other = two.url(f"/chat/sessions/{await one.session()}/messages")
        async with two.client.post(other, json=body, headers=headers) as refused:
            assert (refused.status, (await refused.json())["code"]) == (429, "rate_limited")
            assert int(refused.headers["Retry-After"]) >= 1
        async with two.client.get(two.url(f"/chat/sessions/{session}"), headers=headers) as free:
            assert free.status == 200  # What is not held open needs no place.
        absent = two.url("/chat/sessions/ses_00000000000000000000000000/messages")
        async with two.client.post(absent, json={}, headers=headers) as invalid:
            assert invalid.status == 422  # Faults of the request are told first.
        response.close()

        async def is_served() -> bool:
            async with two.client.post(other, json=body, headers=headers) as answer:
                return answer.status == 200

        await eventually(is_served, what="the place of the closed stream")


@pytest.mark.parametrize(("rates_answer", "pings"), [(True, 0), (False, 1)])
async def test_an_admission_does_not_ask_again_whether_the_queue_answers(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, rates_answer: bool, pings: int
) -> None:
    """With a Redis of its own for the streams, an admission asks the queue's before the turn is stored."""
    queue_url = redis_url.rsplit("/", 1)[0] + "/1" if redis_url.count("/") > 2 else redis_url + "/1"
    monkeypatch.setattr(rates_module, "FRESH_S", PATIENT_S if rates_answer else 0.0)
    async with stage(queue_url, stream_redis_urls=redis_url) as gateway:
        asked, ping = list[bool](), gateway.dependencies.queue.ping

        async def counted() -> bool:
            asked.append(True)
            return bool(await ping())

        monkeypatch.setattr(gateway.dependencies.queue, "ping", counted)
        path = f"/chat/sessions/{await gateway.session()}/messages"
        async with gateway.client.post(gateway.url(path), json={"content": "hi", "stream": True}) as response:
            assert response.status == 200
        assert len(asked) == pings


def test_every_route_that_streams_takes_a_place_with_the_check_of_its_rate() -> None:
    held = {(route.method, route.path) for route in ROUTES if route.may_be_held}
    assert {
        ("POST", "/chat/sessions/{sessionId}/messages"),
        ("GET", "/chat/sessions/{sessionId}/turns/{turnId}/events"),
        ("GET", "/chat/sessions/{sessionId}/events"),
        ("GET", "/chat/sessions/export"),
        ("POST", "/chat/completions"),
        ("GET", "/chat/completions/{completionId}"),
    } <= held
    assert not [route.path for route in ROUTES if route.may_be_held and route.scope in (None, Scope.KEYS_WRITE)]


def test_handlers_hold_a_request_by_its_call() -> None:
    """Whoever holds it by the limits themselves is counted by one gateway only."""
    gateway = Path(route.__file__).parents[1]
    files = [path for path in gateway.rglob("*.py") if ".hold(" in path.read_text(encoding="utf-8")]
    assert len(files) > 5
    assert [path.name for path in files if "limits.hold(" in path.read_text(encoding="utf-8")] == ["route.py"]
