"""Processes of the release before fair dealing work on the same Redis: they know `waiting`, not flows and delays.

What they do is written here as the commands that their scripts sent.
"""

from collections.abc import Awaitable
from typing import cast

import orjson
from arq.jobs import serialize_job

from shared.contracts.jobs import DEFAULT_FLOW, RunTurn
from shared.outbox import OUTBOX
from shared.turn_queue.job import LeasedJob
from shared.turn_queue.keys import QUEUE, WAKE
from shared.turn_queue.queue import RUN_TURN, TurnQueue
from tests.conftest import eventually
from tests.service.shared.turn_queue.rig import a_turn, claimed, count_is, flow_turn, result_of, running_worker

OLD_MEMBERS = ("workspace", "turn_id", "agent_id", "agent_version")


async def earlier_enqueue(queue: TurnQueue, age_ms: int = 0) -> RunTurn:
    job = a_turn()
    seconds, micros = await queue.time()
    now = seconds * 1000 + micros // 1000
    members = {"schema_version": 1, **{name: getattr(job, name) for name in OLD_MEMBERS}}
    payload = serialize_job(RUN_TURN, (), members, None, now - age_ms, serializer=orjson.dumps)
    await queue.set(f"arq:job:{job.turn_id}", payload)
    await queue.zadd(QUEUE, {job.turn_id: now - age_ms})
    await cast("Awaitable[int]", queue.lpush(WAKE, ""))
    return job


async def earlier_claim(queue: TurnQueue) -> str:
    ((turn_id, score),) = await queue.zrange(QUEUE, 0, 0, withscores=True)
    await queue.zrem(QUEUE, turn_id)
    await cast("Awaitable[int]", queue.hset(f"{QUEUE}:enqueued_at", turn_id, score))
    await cast("Awaitable[int]", queue.hset(f"{QUEUE}:leases", turn_id, "earlier:1"))
    await queue.zadd(f"{QUEUE}:running", {turn_id: 9_999_999_999_999})
    return str(turn_id.decode())


async def earlier_requeue(queue: TurnQueue, turn_id: str) -> None:
    score = await cast("Awaitable[bytes]", queue.hget(f"{QUEUE}:enqueued_at", turn_id))
    await queue.zrem(f"{QUEUE}:running", turn_id)
    await cast("Awaitable[int]", queue.hdel(f"{QUEUE}:leases", turn_id))
    await queue.zadd(QUEUE, {turn_id: float(score)})


async def test_jobs_of_an_earlier_gateway_are_run(queue: TurnQueue, redis_url: str) -> None:
    jobs = [await earlier_enqueue(queue) for _ in range(20)]

    async def run(leased: LeasedJob) -> None:
        assert leased.job.flow == DEFAULT_FLOW
        await leased.finish(result_of(leased.job))

    async with running_worker(redis_url, run):
        await eventually(lambda: count_is(queue, 20))
    assert {fields[b"turn"].decode() for _, fields in await queue.xrange(OUTBOX)} == {job.turn_id for job in jobs}


async def test_an_earlier_gateways_job_is_not_starved_by_newer_ones(queue: TurnQueue) -> None:
    """Without a flow it waits until it is the oldest, as it did in its own release; then it is in the default flow."""
    old = await earlier_enqueue(queue, age_ms=2_000)
    for _ in range(20):
        await queue.enqueue(flow_turn("key"))
    assert old in [job for _ in range(3) for job in await claimed(queue, 1)]


async def test_a_job_that_an_earlier_worker_claimed_is_not_dealt_again(queue: TurnQueue) -> None:
    jobs = [flow_turn("key", enqueued_at=1_000 + n) for n in range(3)]
    for job in jobs:
        await queue.enqueue(job)
    taken = await earlier_claim(queue)
    assert [job.turn_id for job in await claimed(queue, 5)] == [j.turn_id for j in jobs if j.turn_id != taken]
    assert not await queue.exists(f"{QUEUE}:flows", f"{QUEUE}:flow:key", f"{QUEUE}:clock")


async def test_jobs_that_a_draining_earlier_worker_requeues_are_dealt_in_a_flood(queue: TurnQueue) -> None:
    job = flow_turn("key", enqueued_at=1_000)
    await queue.enqueue(job)
    assert await earlier_claim(queue) == job.turn_id
    for _ in range(20):
        await queue.enqueue(flow_turn("flood"))
    await claimed(queue, 1)  # Finds the stale entry of the flow, or not: both must do.
    await earlier_requeue(queue, job.turn_id)
    assert job in [dealt for _ in range(3) for dealt in await claimed(queue, 1)]


async def test_a_job_that_a_newer_gateway_enqueued_is_left_alone_by_an_earlier_reconciler(queue: TurnQueue) -> None:
    """It asks `waiting` whether the turn has a job, and its position there."""
    job = flow_turn("key")
    await queue.enqueue(job)
    assert await queue.zscore(QUEUE, job.turn_id) is not None
    await claimed(queue, 1)
    assert await queue.zscore(QUEUE, job.turn_id) is None
    assert await queue.zscore(f"{QUEUE}:running", job.turn_id) is not None


async def test_a_job_that_an_earlier_history_forgot_leaves_nothing_behind(queue: TurnQueue) -> None:
    job = flow_turn("key", weight=4)
    await queue.enqueue(job)
    await queue.zrem(QUEUE, job.turn_id)
    await queue.delete(f"arq:job:{job.turn_id}")
    assert await claimed(queue, 3) == []
    assert {key async for key in queue.scan_iter("*")} <= {WAKE.encode()}
