"""What our alerts are about, planted in a scene: each condition lasts until its block ends, which heals it."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from aiohttp import web
from pymongo import MongoClient
from redis.asyncio import Redis

from shared.contracts.agent_records import NewAgent
from shared.contracts.knowledge import NewSource
from shared.contracts.webhooks import StoreWebhook
from shared.ids import new_id
from shared.outbox import OUTBOX
from shared.tasks import end_tasks
from shared.turn_queue.keys import QUEUE
from tests.conftest import eventually
from tests.service.agent_worker.stage import serving
from tests.system.chaos.cluster import DATABASE, WORKSPACE, Cluster
from tests.system.chaos.scene import LEASE_S, STREAMS_PER_GATEWAY, TURNS_PER_WORKER, Scene

# A history that sleeps for so long and wakes for so long stores one turn in ten more than 5 s late.
SLEEP_S: Final = 6.5
AWAKE_S: Final = 1.5
MONGODB_DELAY_S: Final = 0.4


@dataclass(frozen=True, kw_only=True)
class Condition:
    """`fires`: the alerts that must fire. `may`: those that its side effects may cause, by how busy the host is."""

    name: str
    fires: frozenset[str]
    may: frozenset[str] = frozenset()
    planted: Callable[[Scene], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def neighbours_fail(scene: Scene) -> AsyncIterator[None]:
    """The model breaks answers off, the collector is away, a receiver is gone, a job and a result are unreadable."""
    cluster = scene.cluster

    async def gone(_: web.Request) -> web.Response:
        return web.Response(status=410)

    async with (
        serving(web.post("/hook", gone)) as receiver,
        scene.callers("steady", 2),
        scene.callers("broken", 4),
        Redis.from_url(await cluster.redis.primary_url()) as redis,
    ):
        await scene.collector.stop()
        try:
            await redis.set("arq:job:trn_unreadable", b"no job")
            await redis.zadd(QUEUE, {"trn_unreadable": 1})
            await redis.xadd(OUTBOX, {"turn": "trn_none", "workspace": WORKSPACE, "v": 1, "body": b"{"})
            order = {"id": new_id("whk"), "url": f"{receiver}/hook", "events": ["session.created"]}
            async with cluster.history() as history:
                await history.create_webhook(WORKSPACE, StoreWebhook.model_validate(order))
                with suppress(Exception):
                    await _sessions_until_disabled(scene, history, order["id"])
            yield
        finally:
            await scene.collector.start()


async def _sessions_until_disabled(scene: Scene, history: Any, webhook_id: Any) -> None:
    async def disabled() -> bool:
        # A history's list of endpoints is up to a second old, so the first session may be one without an event.
        await scene.clients()[0].session(scene.agents["steady"])
        return not (await history.webhook(WORKSPACE, webhook_id)).enabled

    await eventually(disabled, within_s=20, what="a disabled webhook")


@asynccontextmanager
async def model_is_slow(scene: Scene) -> AsyncIterator[None]:
    """Callers pile up behind a model that takes 12 seconds for its first text, and for most turns much longer."""
    places = 3 * TURNS_PER_WORKER - 3
    async with scene.callers("stuck", places, gateways=1):

        async def stuck() -> bool:
            return await scene.watch.value("sum(parley_turns_running)") >= places

        await eventually(stuck, within_s=60, what="turns that fill the workers")
        # For what is left of the workers' places, and more than one gateway holds.
        async with scene.callers("late", STREAMS_PER_GATEWAY - places + 5, gateways=1):
            yield


@asynccontextmanager
async def histories_stutter(scene: Scene) -> AsyncIterator[None]:
    names = scene.cluster.members("history")
    async with scene.callers("steady", 8):
        task = asyncio.create_task(_stutter([scene.cluster.children[name].pid for name in names]))
        try:
            yield
        finally:
            await end_tasks([task])


async def _stutter(pids: list[int]) -> None:
    try:
        while True:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(SLEEP_S)
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
            await asyncio.sleep(AWAKE_S)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def mongodb_is_slow(scene: Scene) -> AsyncIterator[None]:
    links = [link for name, link in scene.cluster.links.items() if name.endswith(" to mongodb")]
    async with scene.callers("steady", 4):
        for link in links:
            link.delay_s = MONGODB_DELAY_S
        try:
            yield
        finally:
            for link in links:
                link.heal()


@asynccontextmanager
async def mongodb_is_away(scene: Scene) -> AsyncIterator[None]:
    async with scene.callers("steady", 4):
        await scene.cluster.take_down("mongodb")
        try:
            yield
        finally:
            await scene.cluster.bring_back("mongodb")


@asynccontextmanager
async def redis_is_away(scene: Scene) -> AsyncIterator[None]:
    async with scene.callers("steady", 4):
        await scene.cluster.take_down("redis")
        try:
            yield
        finally:
            await scene.cluster.bring_back("redis")


@asynccontextmanager
async def workers_freeze_then_die(scene: Scene) -> AsyncIterator[None]:
    """Two of three lose the leases of what they run. Then all are gone, and the ingest worker too."""
    cluster = scene.cluster
    names = cluster.members("worker")
    frozen = [cluster.children[name].pid for name in names[:2]]
    async with scene.callers("long", 40):

        async def busy() -> bool:
            running = await scene.watch.query("parley_turns_running")
            return sum(float(one["value"][1]) >= 8 for one in running) == len(names)

        await eventually(busy, within_s=60, what="workers that run turns")
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(2.5 * LEASE_S)
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)

        async def lost() -> bool:
            return "ParleyLeasesLost" in await scene.watch.firing()

        await eventually(lost, within_s=30, what="ParleyLeasesLost")
        names = [*names, "ingest"]
        await asyncio.gather(*(cluster.take_down(name) for name in names))
        try:
            await _source_that_has_waited(cluster)
            yield
        finally:
            await asyncio.gather(*(cluster.bring_back(name) for name in names))


async def _source_that_has_waited(cluster: Cluster) -> None:
    """Five minutes, by its document."""
    order = NewSource(id=new_id("src"), kind="text", content="The restaurant opens at nine.")
    async with cluster.history() as history:
        draft = {"name": "waits", "model": {"name": "scripted/tokens=4"}}
        agent = await history.create_draft(WORKSPACE, NewAgent(id=new_id("agt"), draft=draft))
        await history.create_source(WORKSPACE, agent.id, order)

    def set_back() -> None:
        client: MongoClient[dict[str, Any]] = MongoClient(cluster.mongodb_uri, serverSelectionTimeoutMS=5000)
        try:
            due = datetime.now(UTC) - timedelta(minutes=5)
            client[DATABASE].sources.update_one({"_id": order.id}, {"$set": {"dueAt": due}})
        finally:
            client.close()

    await asyncio.to_thread(set_back)


CONDITIONS: Final = (
    Condition(
        name="neighbours fail",
        fires=frozenset(
            {
                "ParleyJobsUndecodable",
                "ParleyResultsRefused",
                "ParleyWebhookDisabled",
                "ParleySpansLost",
                "ParleyTurnsFailing",
                "ParleyModelFaults",
            }
        ),
        planted=neighbours_fail,
    ),
    Condition(
        name="the model is slow",
        fires=frozenset({"ParleyFirstTextSlow", "ParleyQueueOld", "ParleyGatewayFull"}),
        # The callers that the gateway refuses are answered 503.
        may=frozenset({"ParleyRequestsFailing"}),
        planted=model_is_slow,
    ),
    Condition(
        name="histories stutter",
        fires=frozenset({"ParleyDoneLate", "ParleyEventLoopLate"}),
        may=frozenset({"ParleyRequestsFailing", "ParleyLeasesLost", "ParleyStoreErrors"}),
        planted=histories_stutter,
    ),
    Condition(
        name="MongoDB is slow",
        fires=frozenset({"ParleyMongoDBSlow"}),
        may=frozenset({"ParleyRequestsFailing", "ParleyStoreErrors"}),
        planted=mongodb_is_slow,
    ),
    Condition(
        name="MongoDB is away",
        fires=frozenset({"ParleyStoreErrors", "ParleyRequestsFailing", "ParleyLoopStale"}),
        may=frozenset({"ParleyQueueOld", "ParleyLeasesLost"}),
        planted=mongodb_is_away,
    ),
    Condition(
        name="Redis is away",
        fires=frozenset({"ParleyStoreErrors", "ParleyRequestsFailing"}),
        may=frozenset({"ParleyLoopStale", "ParleyQueueOld", "ParleyLeasesLost"}),
        planted=redis_is_away,
    ),
    Condition(
        name="workers freeze, then die",
        fires=frozenset({"ParleyLeasesLost", "ParleyProcessDown", "ParleyNoWorker", "ParleyIngestLate"}),
        may=frozenset({"ParleyRequestsFailing", "ParleyQueueOld"}),
        planted=workers_freeze_then_die,
    ),
)
# The rules' own test (promtool) fires these and shows their silence. A delivery that waits for five minutes, which this
# alert is about at any pace, would make the run too long.
BY_RULES_TEST_ONLY: Final = frozenset({"ParleyWebhooksLate"})
