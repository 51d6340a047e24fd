"""An end user is erased while the processes that serve and erase them are killed: afterwards no store knows of them."""

import asyncio
import os
import signal
from contextlib import suppress
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import aiohttp
import pytest
from pymongo import MongoClient
from redis.asyncio import Redis

from shared.contracts.webhooks import EVENT_TYPES
from tests.conftest import eventually
from tests.service.history.erasures.remains import remains_in_redis
from tests.system.stack import Client, Stack, gather_bounded

# Other tests of the same stack must not say it.
CANARY = f"canary{uuid4().hex}"
WHO = f"{CANARY}/jane@shop.example"
SAID = f"{CANARY}: what she said"
BUSY = 4
SIZES = [
    pytest.param(20, 1, marks=pytest.mark.timeout(240)),
    pytest.param(1000, 6, marks=[pytest.mark.long, pytest.mark.timeout(1200)]),
]


def remains_in_mongodb(uri: str) -> tuple[list[str], set[str]]:
    """All collections of all databases, those of the blobs too; and the names of those that hold anything."""
    client: MongoClient[dict[str, Any]] = MongoClient(uri, serverSelectionTimeoutMS=10_000)
    try:
        rows = [
            (collection, row)
            for database in client.list_database_names()
            if database not in ("admin", "config", "local")
            for collection in client[database].list_collection_names()
            for row in client[database][collection].find({})
        ]
        found = [f"{collection} {row['_id']}" for collection, row in rows if CANARY in repr(row)]
        return found, {collection for collection, _ in rows}
    finally:
        client.close()


async def _persistent(client: Client, method: str, path: str, body: Any = None, **headers: str) -> Any:
    """The data of a good answer, asked for again while killed processes come back."""
    answers: list[Any] = []

    async def answered() -> bool:
        with suppress(aiohttp.ClientError, TimeoutError):
            status, answer = await client.call(method, path, body, **headers)
            answers.append((status, answer))
            return bool(status < 300)
        return False

    await eventually(answered, within_s=60.0, what=f"{method} {path}")
    return answers[-1][1]["data"]


def _kill(stack: Stack, *groups: str) -> None:
    for group in groups:
        for pid in stack.facts["pids"][group]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(("sessions", "kills"), SIZES)
async def test_nothing_of_an_end_user_survives_an_erasure_amid_kills(
    stack: Stack, client: Client, sessions: int, kills: int
) -> None:
    quick = await stack.publish("scripted/tokens=4,text=echo")
    slow = await stack.publish("scripted/tokens=1000,delay=50,text=echo")
    who = {"id": WHO, "name": f"Jane {CANARY}", "metadata": {"plan": CANARY}}

    async def converse(number: int) -> str:
        body = {"agentId": slow if number < BUSY else quick, "endUser": who, "metadata": {"note": CANARY}}
        session: str = (await _persistent(client, "POST", "/chat/sessions", body))["id"]
        if number % 10 < BUSY:
            once = {"Prefer": "respond-async", "Idempotency-Key": f"{CANARY}-{number}"}
            path = f"/chat/sessions/{session}/messages"
            await _persistent(client, "POST", path, {"content": SAID}, **once)
        return session

    # Nobody receives its deliveries, so they lie around until they are removed with it.
    hook = {"url": "https://receiver.invalid/hook", "events": [*EVENT_TYPES]}
    webhook = (await _persistent(client, "POST", "/webhooks", hook))["id"]
    subject = quote(f"endUser:{WHO}", safe="")
    await _persistent(client, "PUT", f"/budgets/{subject}", {"day": {"tokens": 10_000_000}})
    ids = await gather_bounded(sessions, 8, converse)
    completion = {"model": quick, "messages": [{"role": "user", "content": SAID}], "user": WHO, "store": True}
    assert (await client.call("POST", "/chat/completions", completion))[0] == 200
    assert (await client.call("POST", "/responses", {"model": quick, "input": SAID, "user": WHO}))[0] == 200
    await _rated(
        client, (await _persistent(client, "POST", "/chat/sessions", {"agentId": quick, "endUser": who}))["id"]
    )
    erasure = (await _persistent(client, "DELETE", f"/end-users/{quote(WHO, safe='')}"))["id"]
    for _ in range(kills):
        _kill(stack, "worker", "history")
        # The next blow falls while they are at work again.
        await _persistent(client, "GET", f"/end-user-erasures/{erasure}")
    receipt = await _until_erased(client, erasure, sessions)
    # A page may be erased and not counted when its process is killed.
    assert receipt["erased"]["sessions"] <= sessions + 2

    # The receipt is a promise: nothing is waited for.
    async with Redis.from_url(stack.facts["redisUrl"]) as redis:
        assert await remains_in_redis(redis, CANARY) == []
    found, searched = await asyncio.to_thread(remains_in_mongodb, stack.facts["mongodbUri"])
    assert found == []
    assert {"sessions", "turns", "usage_days", "audit", "webhook_deliveries", "end_user_erasures"} <= searched
    assert {(await client.call("GET", f"/chat/sessions/{each}"))[0] for each in ids[:20]} == {404}
    assert (await client.call("GET", f"/budgets/{subject}"))[0] == 404
    await _persistent(client, "DELETE", f"/webhooks/{webhook}")


async def _rated(client: Client, session: str) -> None:
    """A finished turn with a comment on its answer."""
    _, posted = await client.call("POST", f"/chat/sessions/{session}/messages", {"content": SAID})
    answer = posted["data"]["messages"][-1]["id"]
    opinion = {"rating": "down", "comment": f"{CANARY}: no"}
    await _persistent(client, "POST", f"/chat/sessions/{session}/messages/{answer}/feedback", opinion)


async def _until_erased(client: Client, erasure: str, sessions: int) -> dict[str, Any]:
    found: list[dict[str, Any]] = []

    async def erased() -> bool:
        found.append(await _persistent(client, "GET", f"/end-user-erasures/{erasure}"))
        return bool(found[-1]["status"] == "erased")

    await eventually(erased, within_s=120.0 + sessions / 2, what="the receipt")
    return found[-1]
