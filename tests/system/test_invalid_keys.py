"""An attack with invalid keys, from the gateway's authentication to MongoDB: what it reads there."""

import asyncio
import time
from functools import partial
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from services.gateway.edge.auth import Authenticator
from services.gateway.edge.key_cache import KeyCache
from services.gateway.edge.rates import RequestRates
from services.gateway.edge.visitor_tokens import VisitorTokens
from services.history.mongo.client import Database
from shared.broker import batches
from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import NewKey, Scope, new_secret
from tests.conftest import PATIENCE, eventually
from tests.service.history.running import WORKSPACE, History, running, settings_for

ROUNDS = 5


class KeyReads(CommandListener):
    """Counts the reads that look for a key by its digest. The reconciler reads keys too."""

    def __init__(self) -> None:
        self.count = 0

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name == "find" and event.command["find"] == "keys":
            self.count += not {"digest", "oldDigest"}.isdisjoint(event.command["filter"])

    def succeeded(self, event: CommandSucceededEvent) -> None:
        pass

    def failed(self, event: CommandFailedEvent) -> None:
        pass


async def code_of(authenticator: Authenticator, secret: str) -> Code | None:
    """The refusal of a request with this key; None: the key is good."""
    request = make_mocked_request("GET", "/", headers={"Authorization": f"Bearer {secret}"})
    try:
        await authenticator.principal(request)
    except ApiError as error:
        return error.code
    return None


async def attack(authenticator: Authenticator, keys: list[str]) -> set[Any]:
    return {code for _ in range(ROUNDS) for code in await asyncio.gather(*(code_of(authenticator, k) for k in keys))}


async def test_an_invalid_key_is_read_once_and_a_mistyped_one_never(
    mongodb_uri: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "ANSWER_S", batches.ANSWER_S * PATIENCE * 4)
    reads = KeyReads()
    monkeypatch.setattr("services.history.app.Database", partial(Database, listeners=[reads]))
    async with running(settings_for(mongodb_uri, redis_url)) as history, RequestRates(redis_url) as rates:
        good = await _good_key(history)
        cache = KeyCache(history.client.resolve_key, ttl_s=0.001)
        visitors = VisitorTokens(["a secret"], life_s=60.0)
        unlimited = Authenticator(cache, rates, visitors, failures_per_minute=0)
        unknown = [new_secret("live") for _ in range(50)]
        mistyped = [key[:-1] + ("0" if key[-1] != "0" else "1") for key in unknown]
        before = reads.count
        assert await attack(unlimited, mistyped) == {Code.INVALID_API_KEY}
        assert reads.count == before
        assert await attack(unlimited, unknown) == {Code.INVALID_API_KEY}
        first = reads.count - before
        # A key is looked for as it is, and as one that was rotated.
        assert first <= 2 * len(unknown)
        assert await attack(unlimited, unknown) == {Code.INVALID_API_KEY}
        assert reads.count - before == first
        limited = Authenticator(cache, rates, visitors, failures_per_minute=len(unknown))
        many, began = [new_secret("live") for _ in range(5 * len(unknown))], time.monotonic()
        assert await attack(limited, many) == {Code.INVALID_API_KEY, Code.RATE_LIMITED}
        refilled = (time.monotonic() - began) * len(unknown) / 60
        assert reads.count - before - first <= 2 * (len(unknown) + refilled + 1)
        assert await code_of(unlimited, good) is None


async def _good_key(history: History) -> str:
    async def ready() -> bool:
        try:
            await history.client.ready()
        except ApiError:
            return False
        return True

    await eventually(ready, within_s=20.0, what="a ready history")
    made = await history.client.create_key(NewKey(workspace=WORKSPACE, scopes=frozenset({Scope.CHAT_READ})))
    return made.secret
