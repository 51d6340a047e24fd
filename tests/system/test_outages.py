"""The failure table's rows about stores: away, flushed, full. No process exits, and nothing accepted is lost."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pymongo import AsyncMongoClient
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from deploy.demo.scripted import scripted_answer
from deploy.local.stores import Server, start_mongodb, start_redis
from tests.conftest import PATIENCE, eventually
from tests.system.stack import Client, Stack, Transcript, read_to_end

SLOW = "scripted/tokens=150,delay=30,text=echo"
QUICK = "scripted/tokens=5,delay=0,text=echo"


class Stores:
    """The two stores, in the test's own hands: killed and started at will."""

    def __init__(self, directory: Path) -> None:
        self.redis = start_redis(directory / "redis", debug_commands=True)
        self.mongodb = start_mongodb(directory / "mongodb", test_commands=True)

    def stop(self) -> None:
        self.redis.stop()
        self.mongodb.stop()


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    stores = Stores(tmp_path_factory.mktemp("stores"))
    yield stores
    stores.stop()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, stores: Stores) -> Iterator[Stack]:
    urls = {"PARLEY_QUEUE_REDIS_URL": stores.redis.url, "PARLEY_MONGODB_URI": stores.mongodb.url}
    stack = Stack.start(tmp_path_factory.mktemp("outages"), "--gateways", "2", "--workers", "2", environment=urls)
    yield stack
    stack.stop()


@pytest.fixture
async def redis(stores: Stores) -> AsyncIterator[Redis]:
    async with Redis.from_url(stores.redis.url) as client:
        yield client


class Asked:
    """A question whose stream is being read."""

    def __init__(self, client: Client, session_id: str, question: str) -> None:
        self.client = client
        self.session_id = session_id
        self.question = question
        self.told = Transcript()

    async def __aenter__(self) -> "Asked":
        self._reading = asyncio.create_task(self._read())
        await eventually(lambda: self.told.text != "", what="the first text")
        return self

    async def _read(self) -> None:
        body = {"content": self.question, "stream": True}
        async with self.client.request("POST", f"/chat/sessions/{self.session_id}/messages", body) as answer:
            await read_to_end(answer, self.told)

    async def end(self, within_s: float = 40.0) -> Transcript:
        async with asyncio.timeout(within_s):
            await self._reading
        return self.told

    async def __aexit__(self, *_: object) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    @property
    def turn_id(self) -> str:
        return str(self.told.frames[0].data["turnId"])


async def post(client: Client, session_id: str) -> tuple[int, Any, float, str | None]:
    started = time.monotonic()
    async with client.request("POST", f"/chat/sessions/{session_id}/messages", {"content": "now?"}) as answer:
        return (
            answer.status,
            await answer.json(content_type=None),
            time.monotonic() - started,
            answer.headers.get("Retry-After"),
        )


async def assert_refused_at_once(client: Client, session_id: str) -> None:
    status, body, took_s, retry_after = await post(client, session_id)
    assert (status, body["code"], retry_after is not None) == (503, "dependency_unavailable", True), body
    assert took_s < 1.0 * PATIENCE


async def assert_answers_again(client: Client, session_id: str, within_s: float) -> None:
    async def answers() -> bool:
        return (await post(client, session_id))[0] == 200

    await eventually(answers, within_s=within_s, what="the next turn")


def all_pids(stack: Stack) -> Any:
    return {group: stack.facts["pids"][group] for group in ("gateway", "worker", "history")}


async def assert_told_and_stored(asked: Asked, tokens: int) -> None:
    told = await asked.end()
    assert told.end is not None, told.events()[-5:]
    assert told.end.event == "done", told.end
    assert told.text == scripted_answer(asked.question, tokens)
    assert await asked.client.stored_text(asked.session_id, asked.turn_id) == told.text


@pytest.mark.parametrize("store", ["redis", "mongodb"])
async def test_a_store_that_is_gone_for_seconds_ends_no_process_and_loses_no_turn(
    stack: Stack, stores: Stores, clients: list[Client], store: str
) -> None:
    pids = all_pids(stack)
    other = await clients[1].session(await stack.publish(QUICK))
    session_id = await clients[0].session(await stack.publish(SLOW))
    before = await clients[1].messages(other)
    async with Asked(clients[0], session_id, f"while {store} is away") as asked:
        server: Server = getattr(stores, store)
        server.kill()
        gone_at = time.monotonic()
        try:
            await assert_refused_at_once(clients[1], other)
            while time.monotonic() - gone_at < 3:
                await assert_refused_at_once(clients[1], other)
        finally:
            setattr(stores, store, await asyncio.to_thread(server.restart))  # The tests after this one need it too.
        await assert_answers_again(clients[1], other, within_s=8)
        await assert_told_and_stored(asked, 150)
    assert all_pids(stack) == pids, "no process exits"
    assert len(await clients[1].messages(other)) == len(before) + 2, "what was refused was not stored"


async def test_a_flush_costs_no_accepted_turn(stack: Stack, clients: list[Client], redis: Redis) -> None:
    session_id = await clients[0].session(await stack.publish(SLOW))
    async with Asked(clients[0], session_id, "flush me") as asked:
        await redis.flushall()
        await assert_told_and_stored(asked, 150)


@asynccontextmanager
async def out_of_memory(stores: Stores) -> AsyncIterator[None]:
    async with Redis.from_url(stores.redis.url) as redis:
        await redis.config_set("maxmemory", "1")
        try:
            yield
        finally:
            await redis.config_set("maxmemory", "0")


@asynccontextmanager
async def out_of_disk(stores: Stores) -> AsyncIterator[None]:
    """A snapshot that cannot be put in its place makes Redis refuse writes with MISCONF, as a full disk does."""
    in_the_way = stores.redis.store.data_dir / "dump.rdb"
    async with Redis.from_url(stores.redis.url) as redis:
        in_the_way.mkdir()
        await redis.config_set("save", "3600 1000000")
        try:
            await redis.bgsave()
            await eventually(lambda: _refuses_writes(redis), what="MISCONF")
            yield
        finally:
            in_the_way.rmdir()
            await redis.config_set("save", "")


async def _refuses_writes(redis: Redis) -> bool:
    try:
        await redis.set("probe", 1)
    except ResponseError as error:
        return "MISCONF" in str(error)
    return False


@pytest.mark.parametrize("full", [out_of_memory, out_of_disk])
async def test_a_full_redis_makes_turns_wait_and_loses_none(
    stack: Stack, stores: Stores, clients: list[Client], full: Callable[[Stores], AbstractAsyncContextManager[None]]
) -> None:
    session_id = await clients[0].session(await stack.publish(QUICK))
    other = await clients[1].session(await stack.publish("scripted/tokens=60,delay=30,text=echo"))
    path = f"/chat/sessions/{session_id}/messages"
    async with Asked(clients[1], other, "while it is full") as asked:
        async with full(stores):
            began = time.monotonic()
            status, accepted = await clients[0].call("POST", path, {"content": "full"}, Prefer="respond-async")
            assert status in (202, 503), accepted
            assert time.monotonic() - began < 1.0 * PATIENCE
            await asyncio.sleep(1.0)  # So that the turn that runs meets it many times.
        await assert_told_and_stored(asked, 60)
    if status == 202:
        turn = f"/chat/sessions/{session_id}/turns/{accepted['data']['turnId']}"
        await eventually(lambda: _is_completed(clients[0], turn), within_s=15)
    await assert_answers_again(clients[0], session_id, within_s=8)


async def test_a_full_mongodb_refuses_new_turns_at_once_and_loses_none(
    stack: Stack, stores: Stores, clients: list[Client]
) -> None:
    session_id, other = [
        await clients[0].session(await stack.publish(model))
        for model in ("scripted/tokens=60,delay=30,text=echo", QUICK)
    ]
    mongodb: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(stores.mongodb.url)
    refuse = {"failCommands": ["insert", "update"], "errorCode": 14031}  # OutOfDiskSpace
    try:
        async with Asked(clients[0], session_id, "while it is full") as asked:
            await mongodb.admin.command({"configureFailPoint": "failCommand", "mode": "alwaysOn", "data": refuse})
            try:
                await assert_refused_at_once(clients[1], other)
                await eventually(lambda: asked.told.text == scripted_answer(asked.question, 60), what="the whole text")
                assert asked.told.end is None, "an end was told that is not stored"
            finally:
                await mongodb.admin.command({"configureFailPoint": "failCommand", "mode": "off"})
            await assert_told_and_stored(asked, 60)
        await assert_answers_again(clients[1], other, within_s=8)
        assert len(await clients[1].messages(other)) == 2, "what was refused was not stored"
    finally:
        await mongodb.close()


async def _is_completed(client: Client, turn: str) -> bool:
    status, body = await client.call("GET", turn)
    return status == 200 and body["data"]["status"] == "completed"


async def test_an_expired_log_is_told_afresh_on_any_gateway(stack: Stack, clients: list[Client], redis: Redis) -> None:
    session_id = await clients[0].session(await stack.publish("scripted/tokens=20,delay=5,text=echo"))
    told = await clients[0].ask(session_id, "tell me later")
    assert told.end is not None
    turn_id, end_id = told.end.data["turnId"], told.last_id
    await redis.flushall()

    half = Transcript(text="whatever was shown", last_id="1-3")
    assert await clients[1].resume(session_id, turn_id, half) == 200
    assert half.events() == ["restarted", "delta", "done"]
    assert half.frames[0].data["reason"] == "log_expired"
    assert [frame.id for frame in half.frames] == [None, None, end_id]
    assert half.text == told.text
    assert half.end is not None
    assert half.end.data == told.end.data

    fresh = Transcript()
    assert await clients[1].resume(session_id, turn_id, fresh) == 200
    assert fresh.events() == ["queued", "restarted", "delta", "done"]
    assert fresh.text == told.text

    assert await clients[1].resume(session_id, turn_id, Transcript(last_id=end_id)) == 204
    assert await clients[1].resume(session_id, turn_id, Transcript(last_id="nonsense")) == 400


async def test_a_stream_of_a_deleted_session_ends_with_an_error(stack: Stack, clients: list[Client]) -> None:
    session_id = await clients[0].session(await stack.publish("scripted/tokens=2000,delay=30"))
    async with Asked(clients[0], session_id, "never mind") as asked:
        async with clients[1].request("DELETE", f"/chat/sessions/{session_id}") as answer:
            assert answer.status == 200
        told = await asked.end(within_s=20)
        assert told.end is not None
        assert told.end.event in {"done", "error"}
        assert await clients[0].resume(session_id, asked.turn_id, Transcript()) == 404
    status, _ = await clients[0].call("GET", f"/chat/sessions/{session_id}")
    assert status == 404


async def test_turns_that_were_admitted_without_a_job_are_swept_up(
    stack: Stack, clients: list[Client], redis: Redis, http: aiohttp.ClientSession
) -> None:
    """A gateway that dies between admit and enqueue leaves just that: here the jobs are taken away by a flush."""
    agent_id = await stack.publish("scripted/tokens=30,delay=20,text=echo")
    sessions = [await clients[0].session(agent_id) for _ in range(10)]

    async def accept(session_id: str) -> str:
        path = f"/chat/sessions/{session_id}/messages"
        status, body = await clients[0].call("POST", path, {"content": session_id}, Prefer="respond-async")
        assert status == 202, body
        return str(body["data"]["turnId"])

    turns = await asyncio.gather(*(accept(session_id) for session_id in sessions))
    await redis.flushall()
    for session_id, turn_id in zip(sessions, turns, strict=True):
        path = f"/chat/sessions/{session_id}/turns/{turn_id}"
        await eventually(partial(_is_completed, clients[1], path), within_s=20)
        assert await clients[1].stored_text(session_id, turn_id) == scripted_answer(session_id, 30)
