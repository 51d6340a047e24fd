"""One key's flood: what another key waits for, what a gateway holds of it, and what kills leave of a thousand turns."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from pymongo import MongoClient
from pymongo.collection import Collection
from redis.asyncio import Redis

from services.gateway.edge.stream_places import KEY as STREAMS
from services.history.turns.places import _KEY as TURNS
from shared.contracts.keys import SECRET_SCOPES, NewKey
from shared.turn_queue.keys import QUEUE
from tests.conftest import eventually
from tests.system.stack import Client, Stack, Transcript, gather_bounded, read_to_end

WORKERS: Final = 2
SLOTS: Final = 2
WAITING: Final = 5_000
# A waiting turn is in Redis and MongoDB; a gateway that kept a KiB of each would be over this with its other needs.
GROWTH_KIB: Final = 64 << 10
CONCURRENT: Final = 1_000
OPENING: Final = 24
MAX_KILLS: Final = 8
# Counting 1,000 turns keeps the stand-in for MongoDB busy, and the workers wait for it.
LOOK_S: Final = 1.0
_GONE: Final = (aiohttp.ClientError, ConnectionError, TimeoutError)


@asynccontextmanager
async def running(directory: Path, *arguments: str, **environment: str) -> AsyncIterator[Stack]:
    given = {f"PARLEY_{name}": value for name, value in environment.items()}
    stack = await asyncio.to_thread(Stack.start, directory, "--workers", str(WORKERS), *arguments, environment=given)
    try:
        yield stack
    finally:
        await asyncio.to_thread(stack.stop)


async def another_key(stack: Stack) -> tuple[str, str]:
    """Its id and its secret."""
    async with stack.history() as history:
        key = await history.create_key(NewKey(workspace=stack.facts["workspace"], scopes=SECRET_SCOPES))
    return key.id, key.secret


def turns_of(stack: Stack, key_id: str, **where: Any) -> int:
    with _turns(stack) as turns:
        return turns.count_documents({"keyId": key_id, **where})


@contextmanager
def _turns(stack: Stack) -> Iterator[Collection[dict[str, Any]]]:
    client: MongoClient[dict[str, Any]] = MongoClient(stack.facts["mongodbUri"], serverSelectionTimeoutMS=10_000)
    try:
        (name,) = [each for each in client.list_database_names() if "turns" in client[each].list_collection_names()]
        yield client[name]["turns"]
    finally:
        client.close()


def ends_of(stack: Stack, key_id: str) -> Counter[tuple[str, str | None]]:
    """How many turns have each status and each code of an error."""
    with _turns(stack) as turns:
        rows = list(turns.find({"keyId": key_id}, {"status": 1, "error": 1}))
    return Counter((row["status"], (row.get("error") or {}).get("code")) for row in rows)


def resident_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


async def post(client: Client, agent_id: str) -> None:
    session = await client.session(agent_id)
    path = f"/chat/sessions/{session}/messages"
    status, body = await client.call("POST", path, {"content": "flood"}, Prefer="respond-async")
    assert status == 202, body


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_a_keys_flood_delays_another_keys_turn_by_two_turns_at_most(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    limits = {"REQUESTS_PER_MINUTE": "0", "DRAIN_S": "1", "MAX_TURNS": str(SLOTS)}
    async with running(tmp_path, "--gateways", "1", **limits) as stack:
        facts, (flooder, secret), (_, other) = stack.facts, await another_key(stack), await another_key(stack)
        flood, caller = (Client(http, facts["gateways"][0], key) for key in (secret, other))
        # So slow that few of them end while this test looks at what has started.
        slow = await stack.publish("scripted/tokens=100,delay=100")
        quick = await stack.publish("scripted/tokens=2,delay=1")
        session = await caller.session(quick)
        await gather_bounded(200, 16, lambda _: post(flood, slow))
        (gateway,) = facts["pids"]["gateway"]
        before_kib = resident_kib(gateway)
        async with Redis.from_url(facts["redisUrl"]) as redis:
            while (missing := WAITING - await redis.zcard(QUEUE)) > 0:
                await gather_bounded(missing, 16, lambda _: post(flood, slow))
        assert resident_kib(gateway) - before_kib < GROWTH_KIB

        started = {"attempt": {"$gte": 1}}
        before = await asyncio.to_thread(turns_of, stack, flooder, **started)
        told = Transcript()
        path = f"/chat/sessions/{session}/messages"
        async with caller.request("POST", path, {"content": "one turn", "stream": True}) as answer:
            assert answer.status == 200
            await read_to_end(answer, told)
        since = await asyncio.to_thread(turns_of, stack, flooder, **started) - before
        assert told.end is not None
        assert told.end.event == "done"
        assert since <= 2 * WORKERS * SLOTS
        assert await asyncio.to_thread(turns_of, stack, flooder, status="queued") > WAITING * 0.9


@pytest.mark.soak
@pytest.mark.timeout(2400)
async def test_a_thousand_turns_amid_kills_leave_no_lease_and_no_place(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    """The model hangs behind its first word until its second caller is killed too: then it answers at once."""
    limits = {"TURNS_PER_KEY": str(CONCURRENT), "STREAMS_PER_KEY": str(CONCURRENT)}
    # However slow the host is, it is no reason to fail a turn.
    patience = dict.fromkeys(("MODEL_CONNECT_TIMEOUT_S", "MODEL_FIRST_TOKEN_TIMEOUT_S", "MODEL_TOKEN_TIMEOUT_S"), "600")
    patience |= {"LEASE_S": "20", "MAX_TRIES": "20", "TURN_TIMEOUT_S": "1200"}
    tuning = {"REQUESTS_PER_MINUTE": "0", "MAX_TURNS": str(CONCURRENT), **patience}
    async with running(tmp_path, "--gateways", "2", **limits, **tuning) as stack:
        facts, (key_id, secret) = stack.facts, await another_key(stack)
        clients = [Client(http, url, secret) for url in facts["gateways"]]
        agent_id = await stack.publish("scripted/tokens=4,delay=1,fail=hang,after=1,fail_times=2")
        sessions = await gather_bounded(CONCURRENT + 1, 16, lambda n: clients[n % 2].session(agent_id))
        extra, told = sessions.pop(), [Transcript() for _ in sessions]

        opening = asyncio.Semaphore(OPENING)

        async def stream(number: int) -> None:
            path, body = f"/chat/sessions/{sessions[number]}/messages", {"content": f"hold on {number}", "stream": True}
            once = {"Idempotency-Key": f"stream-{number}"}
            async with opening:
                answer = await _opened(clients[number % 2], path, body, once)
            try:
                with suppress(*_GONE):
                    await read_to_end(answer, told[number])
            finally:
                answer.close()

        readers = [asyncio.create_task(stream(number)) for number in range(CONCURRENT)]
        async with Redis.from_url(facts["redisUrl"]) as redis:
            await eventually(lambda: all(one.text for one in told), within_s=200, what="text on every stream")
            # What a gateway could not ask for in time it holds all the same, and renews. A turn without a place is
            # refused.
            for name in (f"{QUEUE}:running", STREAMS + key_id, TURNS + key_id):
                await eventually(partial(_is_held, redis, stack, key_id, name), within_s=30, what=name, every_s=LOOK_S)
            if await _none(stack, key_id, active=False):  # No attempt was given up because history was too slow.
                for client in clients:
                    await eventually(lambda one=client: _is_refused(one, extra), within_s=30, what="a refusal")  # type: ignore[misc]
            os.kill(facts["pids"]["gateway"][0], signal.SIGKILL)
            await _killed_until_all_ended(stack, key_id)
            await asyncio.gather(*readers)
            assert await _left(redis, key_id) == {}
        assert await asyncio.to_thread(ends_of, stack, key_id) == {("completed", None): CONCURRENT}
        for number in (0, 1):
            await eventually(lambda n=number: _is_served(clients[n], extra), within_s=30, what="a turn at the limit")  # type: ignore[misc]


async def _killed_until_all_ended(stack: Stack, key_id: str) -> None:
    """Kills all workers whenever every turn that is left has begun another attempt."""
    for kills in range(1, MAX_KILLS):
        for pid in stack.facts["pids"]["worker"]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        overdue = {"active": True, "attempt": {"$lte": kills}}
        await eventually(partial(_none, stack, key_id, **overdue), within_s=200, what="other attempts", every_s=LOOK_S)
        with suppress(AssertionError):
            return await eventually(
                lambda: _none(stack, key_id, active=True), within_s=6, what="the end of every turn", every_s=LOOK_S
            )
    raise AssertionError(f"turns are active after {kills} kills")


async def _opened(client: Client, path: str, body: Any, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
    """Asks again while a busy history does not answer in time, or a refused turn's place is not returned yet."""
    while True:
        answer: aiohttp.ClientResponse = await client.request("POST", path, body, **headers)
        if answer.status not in (429, 503):
            assert answer.status == 200, await answer.text()
            return answer
        answer.close()
        await asyncio.sleep(float(answer.headers["Retry-After"]))


async def _is_held(redis: "Redis", stack: Stack, key_id: str, name: str) -> bool:
    """Whether the set has every turn that has not ended."""
    held = await redis.zcard(name)
    return bool(held == CONCURRENT - await asyncio.to_thread(turns_of, stack, key_id, active=False))


async def _is_refused(client: Client, session: str) -> bool:
    """Whether one stream more is one too many."""
    async with client.request("GET", f"/chat/sessions/{session}/events") as answer:
        return bool(answer.status == 429)


async def _none(stack: Stack, key_id: str, **where: Any) -> bool:
    return await asyncio.to_thread(turns_of, stack, key_id, **where) == 0


async def _left(redis: "Redis", key_id: str) -> Mapping[str, int]:
    """What is still held a moment after the last turn's end, when the places of the killed gateway have lapsed too."""
    names = (f"{QUEUE}:running", f"{QUEUE}:leases", QUEUE, TURNS + key_id, STREAMS + key_id)
    found: dict[str, int] = {}

    async def is_empty() -> bool:
        found.clear()
        found.update({name: 1 for name in names if await redis.exists(name)})
        return not found

    with suppress(AssertionError, TimeoutError):
        await eventually(is_empty, within_s=60)
    return found


async def _is_served(client: Client, session: str) -> bool:
    with suppress(*_GONE):
        status, _ = await client.call(
            "POST", f"/chat/sessions/{session}/messages", {"content": "again"}, Prefer="respond-async"
        )
        return status in (202, 409)
    return False
