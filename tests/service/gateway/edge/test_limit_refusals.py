"""The refusal of every limit, on the own routes and on the OpenAI routes."""

from typing import Any, Final

import aiohttp
import pytest

from services.gateway.streaming.queue_age import QueueAge
from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import Scope, new_secret
from shared.contracts.turns import TurnLimits
from shared.turn_queue.queue import TurnQueue
from tests.conftest import eventually
from tests.service.gateway.fakes import Stage, stage

FACES: Final = ["own", "openai"]
ALL: Final = tuple(set(Scope) - {Scope.CHAT_PUBLIC})


async def post(gateway: Stage, face: str, key: str | None = None) -> tuple[aiohttp.ClientResponse, dict[str, Any]]:
    """Asks for a turn."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    if face == "own":
        path, body = f"/chat/sessions/{await gateway.session()}/messages", dict[str, Any](content="hi")
    else:
        message = {"role": "user", "content": "hi"}
        path, body = "/chat/completions", {"model": gateway.agent_id, "messages": [message]}
    async with gateway.client.post(gateway.url(path), json=body, headers=headers) as response:
        answer: dict[str, Any] = await response.json(content_type=None)
        return response, answer


def refused(response: aiohttp.ClientResponse, body: dict[str, Any], status: int, code: str) -> None:
    assert (response.status, body["code"], body["error"]["code"], body["retryable"]) == (status, code, code, True)
    assert body["error"]["message"] == body["detail"]
    assert int(response.headers["Retry-After"]) >= 1


@pytest.mark.parametrize("face", FACES)
async def test_a_keys_own_rate_is_over_before_the_gateways(gateway: Stage, face: str) -> None:
    key = gateway.history.key(*ALL, rate_limit_rpm=1)
    async with gateway.client.get(gateway.url("/models"), headers={"Authorization": f"Bearer {key}"}) as response:
        assert response.headers["RateLimit-Limit"] == "1"
    response, body = await post(gateway, face, key)
    refused(response, body, 429, "rate_limited")
    assert 1 <= int(response.headers["Retry-After"]) <= 60
    assert response.headers["RateLimit-Remaining"] == "0"
    assert ("x-ratelimit-remaining-requests" in response.headers) == (face == "openai")
    assert not gateway.history.turns


async def test_without_a_limit_no_header_tells_of_one(redis_url: str) -> None:
    async with (
        stage(redis_url, requests_per_minute=0) as gateway,
        gateway.client.get(gateway.url("/models")) as response,
    ):
        assert response.status == 200
        assert not [name for name in response.headers if "ratelimit" in name.lower()]


@pytest.mark.parametrize("face", FACES)
async def test_an_address_with_too_many_invalid_keys_is_refused(redis_url: str, face: str) -> None:
    async with stage(redis_url, failed_auth_per_minute=1) as gateway:
        await gateway.session()
        first, _ = await _with_key(gateway, face)
        response, body = await _with_key(gateway, face)
        assert first.status == 401
        refused(response, body, 429, "rate_limited")


async def _with_key(gateway: Stage, face: str) -> tuple[aiohttp.ClientResponse, dict[str, Any]]:
    path = "/chat/sessions" if face == "own" else "/models"
    headers = {"Authorization": f"Bearer {new_secret('live')}"}
    async with gateway.client.get(gateway.url(path), headers=headers) as response:
        return response, await response.json(content_type=None)


@pytest.mark.parametrize("face", FACES)
async def test_the_limits_of_turns_go_with_the_order_and_their_refusal_is_shown(
    redis_url: str, face: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage(redis_url, turns_per_key=7, turns_per_end_user=2) as gateway:
        orders = list[Any]()

        async def full(_: str, order: Any) -> Any:
            orders.append(order)
            raise ApiError(Code.RATE_LIMITED, "This key has too many turns that run or wait.")

        monkeypatch.setattr(gateway.history, "admit", full)
        refused(*await post(gateway, face), 429, "rate_limited")
        refused(*await post(gateway, face, gateway.history.key(*ALL, max_concurrent_turns=3)), 429, "rate_limited")
    assert [order.limits for order in orders] == [TurnLimits(key=7, end_user=2), TurnLimits(key=3, end_user=2)]
    assert all(order.key_id for order in orders)


@pytest.mark.parametrize("face", FACES)
async def test_a_queue_that_is_too_old_refuses_turns_and_nothing_is_stored(
    redis_url: str, face: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def backlog(_: TurnQueue) -> tuple[int, float]:
        return 5, age_s

    age_s = 100.0
    monkeypatch.setattr(TurnQueue, "backlog", backlog)
    monkeypatch.setattr("services.gateway.streaming.queue_age.LOOK_EVERY_S", 0.01)
    async with stage(redis_url, queue_age_limit_s=90.0) as gateway:
        await eventually(lambda: _is_old(gateway.dependencies.queue_age))
        response, body = await post(gateway, face)
        refused(response, body, 503, "overloaded")
        assert response.headers["Retry-After"] == "10"
        assert not gateway.history.turns
        age_s = 1.0
        await eventually(lambda: not _is_old(gateway.dependencies.queue_age))


def _is_old(age: QueueAge) -> bool:
    try:
        age.refuse()
    except ApiError:
        return True
    return False


async def test_without_redis_the_queues_age_refuses_nothing() -> None:
    queue = TurnQueue.connect("redis://127.0.0.1:9/0")
    async with QueueAge(queue, 0.001) as age:
        age._age_s = 1.0
        await eventually(lambda: not _is_old(age))
    await queue.aclose()


@pytest.mark.parametrize("face", FACES)
async def test_streams_of_a_gateway_are_limited(redis_url: str, face: str) -> None:
    async with stage(redis_url, streams_limit=1) as gateway:
        with gateway.dependencies.limits.hold("another"):
            refused(*await post(gateway, face), 503, "overloaded")
    async with stage(redis_url, streams_per_key=1) as gateway:
        (principal,) = gateway.history.principals.values()
        with gateway.dependencies.limits.hold(principal.key_id):
            refused(*await post(gateway, face), 429, "rate_limited")
