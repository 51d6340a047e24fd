"""The stores go away and come back; history stays, refuses at once, and loses nothing."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from redis.exceptions import RedisError

from deploy.local.processes import free_port
from deploy.local.stores import Server, mongodb_store, redis_store, start_mongodb, start_redis
from shared.contracts.errors import ApiError, Code
from shared.contracts.turns import ClaimTurn
from tests.conftest import PATIENCE, eventually
from tests.service.history.conftest import is_ready
from tests.service.history.running import WORKSPACE, History, finished, order, running, settings_for


@pytest.fixture
def own_mongodb(tmp_path: Path) -> Iterator[Server]:
    server = start_mongodb(tmp_path / "mongodb")
    yield server
    server.kill()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Server]:
    server = start_redis(tmp_path / "redis")
    yield server
    server.kill()


async def refused(call: Any, *, within_s: float = 1.0) -> Code:
    started = time.monotonic()
    with pytest.raises(ApiError) as raised:
        await call
    assert time.monotonic() - started < within_s * PATIENCE
    return raised.value.code


async def restarted(server: Server) -> Server:
    return await asyncio.to_thread(server.restart)


async def test_it_starts_without_its_stores_and_serves_when_they_come(tmp_path: Path) -> None:
    mongodb, redis = mongodb_store(tmp_path / "mongodb", free_port()), redis_store(tmp_path / "redis", free_port())
    started: list[Server] = []
    try:
        async with running(settings_for(mongodb.url, redis.url)) as history:
            assert await refused(history.client.published_agents(WORKSPACE)) is Code.DEPENDENCY_UNAVAILABLE
            started += [await asyncio.to_thread(store.start) for store in (mongodb, redis)]
            await eventually(lambda: is_ready(history), within_s=10.0, what="a ready history")
            await history.publish()
            await history.answer(await history.session())
    finally:
        for server in started:
            server.kill()


async def test_without_mongodb_requests_are_refused_within_a_second(own_mongodb: Server, redis_url: str) -> None:
    async with running(settings_for(own_mongodb.url, redis_url)) as history:
        await eventually(lambda: is_ready(history), what="a ready history")
        await history.publish()
        session_id = await history.session()
        turn_id = await history.answer(session_id)
        waiting = (await history.admit(session_id)).turn
        lease = await history.claim(waiting.id)
        own_mongodb.kill()
        assert await refused(history.admit(session_id)) is Code.DEPENDENCY_UNAVAILABLE
        # If each of them waited for the driver by itself, its ten threads would let the last go after eight seconds.
        calls = [refused(history.client.turn(WORKSPACE, turn_id), within_s=1.5) for _ in range(100)]
        assert set(await asyncio.gather(*calls)) == {Code.DEPENDENCY_UNAVAILABLE}
        assert not await is_ready(history)
        # A turn that ends meanwhile waits in the outbox, and its end is not published.
        assert await lease.job.finish(finished(waiting.id, 1, "Kept."))
        assert await history.frames(waiting.id) == []
        server = await restarted(own_mongodb)
        try:
            await eventually(lambda: is_ready(history), within_s=5.0, what="a ready history")
            await history.wait_for_end(waiting.id)
            assert [message.content for message in (await history.client.turn(WORKSPACE, waiting.id)).output] == [
                "Kept."
            ]
            assert (await history.client.turn(WORKSPACE, turn_id)).turn.status == "completed"
        finally:
            server.kill()


async def test_a_request_that_waits_for_a_lost_mongodb_is_let_go(own_mongodb: Server, redis_url: str) -> None:
    async with running(settings_for(own_mongodb.url, redis_url)) as history:
        await eventually(lambda: is_ready(history), what="a ready history")
        await history.publish()
        session_id = await history.session()
        calls = [asyncio.create_task(_outcome(history, session_id)) for _ in range(50)]
        own_mongodb.kill()
        started = time.monotonic()
        assert set(await asyncio.gather(*calls)) <= {None, Code.DEPENDENCY_UNAVAILABLE, Code.TURN_IN_PROGRESS}
        assert time.monotonic() - started < 1.0 * PATIENCE


async def test_what_is_refused_during_an_outage_is_not_done_after_it(own_mongodb: Server, redis_url: str) -> None:
    """Otherwise the driver runs a minute's refused operations when MongoDB is back, and nobody is served meanwhile."""
    started: list[int] = []

    async def operation() -> None:
        started.append(1)
        await asyncio.Event().wait()  # For as long as MongoDB is away.

    async with running(settings_for(own_mongodb.url, redis_url)) as history:
        await eventually(lambda: is_ready(history), what="a ready history")
        own_mongodb.kill()
        calls = [asyncio.create_task(history.dependencies.database.availability.run(operation)) for _ in range(3)]
        assert {type(outcome) for outcome in await asyncio.gather(*calls, return_exceptions=True)} == {ApiError}
        started.clear()
        assert (
            await refused(history.dependencies.database.availability.run(operation), within_s=0.5)
            is Code.DEPENDENCY_UNAVAILABLE
        )
        assert not started


async def _outcome(history: History, session_id: str) -> Code | None:
    try:
        await history.client.admit(WORKSPACE, order(session_id))
    except ApiError as error:
        return error.code
    return None


async def test_a_redis_that_is_away_counts_as_store_errors_also_while_nobody_asks(mongodb_uri: str) -> None:
    """The alert of store errors rests on it: gateways refuse turns by themselves then, and history gets few calls."""

    def counted() -> float:
        return REGISTRY.get_sample_value("parley_store_errors_total", {"store": "redis"}) or 0.0

    before = counted()
    async with running(settings_for(mongodb_uri, f"redis://127.0.0.1:{free_port()}/0")):
        await eventually(lambda: counted() >= before + 3, what="store errors of Redis")


async def test_without_redis_turns_are_still_accepted_and_nobody_is_judged(mongodb_uri: str, own_redis: Server) -> None:
    async with running(settings_for(mongodb_uri, own_redis.url)) as history:
        await eventually(lambda: is_ready(history), what="a ready history")
        await history.publish()
        session_id = await history.session()
        turn = (await history.admit(session_id)).turn
        lease = await history.claim(turn.id)
        await history.documents.turns.update_one({"_id": turn.id}, {"$set": {"tries": 3}})
        own_redis.kill()
        other = (await history.admit(await history.session())).turn
        # Nobody knows who holds the lease, so no attempt starts, and no claim hears that the turn is out of tries.
        assert await refused(history.begin(turn.id, "another", 2)) is Code.DEPENDENCY_UNAVAILABLE
        assert (
            await refused(history.client.claim(WORKSPACE, turn.id, ClaimTurn(claim_id="another")))
            is Code.DEPENDENCY_UNAVAILABLE
        )
        assert not await is_ready(history)
        assert (await history.client.cancel(WORKSPACE, other.id)).status == "queued"
        with pytest.raises((RedisError, OSError)):
            await history.dependencies.reconciler.round()
        assert (await history.client.turn(WORKSPACE, turn.id)).turn.status == "running"
        server = await restarted(own_redis)
        try:
            await eventually(lambda: is_ready(history), within_s=5.0, what="a ready history")
            await lease.job.finish(finished(turn.id, 1))
            await history.wait_for_end(turn.id)
            # The cancellation was recorded, and is completed now.
            await history.wait_for_end(other.id)
            assert (await history.client.turn(WORKSPACE, other.id)).turn.status == "cancelled"
        finally:
            server.kill()


async def test_a_deletion_is_acknowledged_only_when_nothing_can_be_read_any_more(
    mongodb_uri: str, own_redis: Server
) -> None:
    """Without Redis the turns stay until their logs can go with them; what is refused is completed all the same."""
    async with running(settings_for(mongodb_uri, own_redis.url)) as history:
        await eventually(lambda: is_ready(history), what="a ready history")
        await history.publish()
        session_id = await history.session()
        turn_id = await history.answer(session_id)
        own_redis.kill()
        assert await refused(history.client.delete_session(WORKSPACE, session_id)) is Code.DEPENDENCY_UNAVAILABLE
        assert await refused(history.client.session(WORKSPACE, session_id)) is Code.SESSION_NOT_FOUND
        server = await restarted(own_redis)
        try:
            await history.client.delete_session(WORKSPACE, session_id)
            assert await refused(history.client.turn(WORKSPACE, turn_id)) is Code.TURN_NOT_FOUND
        finally:
            server.kill()
