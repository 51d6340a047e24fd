"""A stream Redis is added and taken away again by rolling restarts, under load: nothing lost, doubled or with a gap."""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from redis import Redis

from deploy.local.stores import start_redis
from shared.ids import id_at, time_of
from tests.conftest import eventually
from tests.system.chaos.cluster import DATABASE, Cluster, default_size
from tests.system.chaos.events import Injected
from tests.system.chaos.visitor import World
from tests.system.upgrade.rolling import members, under_load

ORDER = ("history", "worker", "gateway")
# A process is replaced first to see how long that takes here; for the rolling restart there is so many times as much.
MARGIN = 3.0
IN_USE_S = 25.0
REST_S = 5.0
# Clients that were turned away need time at the next gateway.
PAUSE_S = 1.0


def at(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def turns_on(url: str) -> list[str]:
    with Redis.from_url(url, decode_responses=True) as server:
        return [name.rpartition(":")[2] for name in server.scan_iter("turn:*", count=1000)]


def active_before(uri: str, seconds: float) -> int:
    client: MongoClient[dict[str, Any]] = MongoClient(uri)
    try:
        where = {"active": True, "_id": {"$lt": id_at("trn", int(seconds * 1000))}}
        return client[DATABASE]["turns"].count_documents(where)
    finally:
        client.close()


async def roll_time(cluster: Cluster) -> float:
    names = list(members(cluster, ORDER))
    began = time.monotonic()
    await cluster.add_to_streams(names[-1], [])
    return MARGIN * len(names) * (PAUSE_S + time.monotonic() - began)


async def roll(cluster: Cluster, world: World, urls: Sequence[str]) -> None:
    began = world.clock()
    for name in members(cluster, ORDER):
        await cluster.add_to_streams(name, urls)
        await asyncio.sleep(PAUSE_S)
    world.history.add(Injected(at=began, until=world.clock(), kind="roll services", target="worker, history, gateway"))


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_a_stream_redis_comes_and_goes_under_load_and_no_stream_has_a_gap(tmp_path: Path) -> None:
    second = start_redis(tmp_path / "second")
    cluster = Cluster(tmp_path / "run", lease_s=4.0, size=default_size())

    async def changes(world: World) -> None:
        await asyncio.sleep(REST_S)
        since = float(int(time.time() + await roll_time(cluster)))
        until = since + IN_USE_S
        await roll(cluster, world, [f"{second.url}#since={at(since)}&until={at(until)}"])
        assert time.time() < since, "the rolling restart took three times as long as was seen before"
        assert not turns_on(second.url)
        await asyncio.sleep(until + REST_S - time.time())
        placed = [time_of(turn) / 1000 for turn in turns_on(second.url)]
        assert placed
        assert since <= min(placed)
        assert max(placed) < until

        async def are_over() -> bool:
            return not await asyncio.to_thread(active_before, cluster.mongodb_uri, until)

        await eventually(are_over, within_s=60.0, what="the end of the turns of the second Redis")
        await asyncio.sleep(REST_S)
        await roll(cluster, world, [])
        second.stop()
        await asyncio.sleep(REST_S)

    try:
        result = await under_load(cluster, tmp_path / "run", changes, seed=20261127)
    finally:
        second.stop()
    print(result.accepted, "turns accepted; requests by failures in a row:", result.streaks)
    assert not result.violations, f"{result.violations[:5]}; all of it: {tmp_path}"
    assert not result.crashes, result.crashes
