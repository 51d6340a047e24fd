"""Proof-of-work challenges: which solutions count, and when a visitor is asked for one."""

from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import orjson
import pytest
from altcha import Challenge, Payload, Solution, create_challenge, solve_challenge

from services.gateway.edge.challenges import Challenges
from shared.contracts.widget import WidgetSettings
from tests.service.gateway.edge.test_visitors import ask, visit
from tests.service.gateway.edge.workspace_scene import OWN, Scene, gateway_before, scene

PATH = "/chat/widget/sessions"


@pytest.fixture
async def challenges(redis_url: str) -> AsyncIterator[Challenges]:
    opened = Challenges(["old secret", "older secret"], redis_url)
    yield opened
    await opened.aclose()


def solved(shown: dict[str, Any]) -> str:
    challenge = Challenge.from_dict(shown)
    solution = solve_challenge(challenge)
    assert solution is not None
    return Payload(challenge, solution).to_base64()


def altered(payload: str, **parameters: Any) -> str:
    document = orjson.loads(b64decode(payload))
    document["challenge"]["parameters"] |= parameters
    return b64encode(orjson.dumps(document)).decode()


async def test_a_solution_counts_once_and_for_its_key_only(challenges: Challenges) -> None:
    payload = solved(challenges.new("key_a"))
    assert not await challenges.redeem("key_b", payload)
    assert await challenges.redeem("key_a", payload)
    assert not await challenges.redeem("key_a", payload)
    # The same solution in other words is the same solution.
    assert not await challenges.redeem("key_a", altered(payload))


async def test_a_solution_that_was_not_worked_for_is_refused(challenges: Challenges) -> None:
    shown = challenges.new("key_a")
    challenge = Challenge.from_dict(shown)
    mine = create_challenge("SHA-256", 1, key_prefix="", data={"key": "key_a"}, hmac_secret="another secret")
    unsigned = create_challenge("SHA-256", 1, key_prefix="", data={"key": "key_a"})
    payload = solved(shown)
    for wrong in (
        Payload(challenge, Solution(0, "000" + "0" * 61)).to_base64(),
        Payload(challenge, Solution(-1, "")).to_base64(),
        altered(payload, keyPrefix=""),
        altered(payload, data={"key": "key_b"}),
        altered(payload, expiresAt=9999999999),
        solved(mine.to_dict()),
        solved(unsigned.to_dict()),
        "",
        "nonsense",
        b64encode(b"[]").decode(),
        b64encode(b'{"challenge": {"parameters": null}, "solution": 1}').decode(),
        payload + " " * 4000,
    ):
        assert not await challenges.redeem("key_a", wrong), wrong
        assert not await challenges.redeem("key_b", wrong), wrong
    assert await challenges.redeem("key_a", payload)


async def test_a_challenge_expires(redis_url: str) -> None:
    late = Challenges(["secret"], redis_url, life=timedelta(seconds=-1))
    assert not await late.redeem("key_a", solved(late.new("key_a")))
    await late.aclose()


async def test_a_rotated_secret_still_verifies(challenges: Challenges, redis_url: str) -> None:
    payload = solved(challenges.new("key_a"))
    after = Challenges(["new secret", "old secret"], redis_url)
    assert await after.redeem("key_a", payload)
    await after.aclose()


async def test_without_redis_a_solution_is_accepted() -> None:
    alone = Challenges(["secret"], "redis://127.0.0.1:9/0")
    assert await alone.redeem("key_a", solved(alone.new("key_a")))
    await alone.aclose()


@pytest.fixture
async def stage(mongodb_uri: str, redis_url: str) -> AsyncIterator[Scene]:
    async with scene(mongodb_uri, redis_url) as prepared:
        yield prepared


async def test_visitors_under_a_flood_solve_a_challenge_and_others_are_not_asked(stage: Scene, redis_url: str) -> None:
    key, agent = stage.own.session_key.secret, stage.own.ids["agentId"]
    async with gateway_before(stage.history, redis_url, unchallenged_visits_per_minute=3) as base:
        own = replace(stage, base=base)
        first, *_ = [await visit(own) for _ in range(3)]
        status, answer, headers = await ask(own, "POST", PATH, key, {})
        assert (status, answer["code"], answer["retryable"]) == (403, "challenge_required", False)
        assert headers["Access-Control-Allow-Origin"] == "https://shop.example"
        payload = solved(answer["challenge"])
        assert (await visit(own, challenge=payload))["visitorToken"]
        status, answer, _ = await ask(own, "POST", PATH, key, {"challenge": payload})
        assert (status, answer["code"]) == (403, "challenge_required")
        assert (await visit(own, challenge=solved(answer["challenge"])))["visitorToken"]
        # A visitor who comes back to a running session starts none.
        assert (await visit(own, visitorToken=first["visitorToken"], resume=True))["session"]["id"]
        status, answer, headers = await ask(own, "GET", "/chat/widget/challenge", key)
        assert (status, headers["Cache-Control"]) == (200, "no-store")
        assert (await visit(own, challenge=solved(answer["data"])))["visitorToken"]
        await stage.history.client.put_widget(OWN, agent, WidgetSettings(challenge="off"))
        assert (await visit(own))["visitorToken"]


async def test_a_widget_may_ask_every_visitor(stage: Scene) -> None:
    await stage.history.client.put_widget(OWN, stage.own.ids["agentId"], WidgetSettings(challenge="always"))
    status, answer, _ = await ask(stage, "POST", PATH, stage.own.session_key.secret, {})
    assert (status, answer["code"]) == (403, "challenge_required")
