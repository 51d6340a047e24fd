"""A worker that stops: what it still takes, and what becomes of its jobs."""

import asyncio
from typing import Any

import pytest
from redis.exceptions import ResponseError

from shared.broker.redis_py import Command
from shared.outbox import OUTBOX
from shared.turn_queue.job import LeasedJob
from shared.turn_queue.keys import QUEUE, WAKE
from shared.turn_queue.queue import TurnQueue
from shared.turn_queue.worker import LeasedWorker
from tests.conftest import eventually
from tests.service.shared.turn_queue.rig import (
    a_turn,
    is_waited_for,
    result_of,
    running_worker,
    tokens_in,
)


async def test_what_comes_while_a_worker_stops_waits_for_another(queue: TurnQueue, redis_url: str) -> None:
    """Claim and wait are pipelined, so a claim may bring a job that the worker must not start any more.

    It is requeued at once.
    """
    began = list[str]()

    async def run(leased: LeasedJob) -> None:
        began.append(leased.job.turn_id)
        await leased.finish(result_of(leased.job))

    for pause_s in (0.0, 0.0005, 0.001, 0.0015, 0.002) * 4:
        job = a_turn()
        async with running_worker(redis_url, run, lease_s=60) as stop:
            await eventually(lambda: is_waited_for(queue))
            enqueued = asyncio.create_task(queue.enqueue(job))
            await asyncio.sleep(pause_s)
            stop.set()
        await enqueued
        waits = await queue.zscore(QUEUE, job.turn_id) is not None
        assert waits == (job.turn_id not in began)
        assert await tokens_in(queue) == int(waits), "and whoever takes it is woken"
        assert await queue.zcard(f"{QUEUE}:running") == 0
        await queue.forget(job.turn_id)
        await queue.delete(WAKE)


async def test_a_worker_that_drains_takes_nothing(queue: TurnQueue, redis_url: str) -> None:
    taken, go_on = list[str](), asyncio.Event()

    async def run(leased: LeasedJob) -> None:
        taken.append(leased.job.turn_id)
        await go_on.wait()
        await leased.finish(result_of(leased.job))

    first, second = a_turn(), a_turn()
    async with running_worker(redis_url, run, drain_s=30.0, max_turns=2) as stop:
        await queue.enqueue(first)
        await eventually(lambda: taken)
        await eventually(lambda: is_waited_for(queue))
        stop.set()
        await eventually(lambda: _is_not_waited_for(queue))
        await queue.enqueue(second)
        go_on.set()
        await eventually(lambda: queue.xlen(OUTBOX))
    assert taken == [first.turn_id]
    assert await queue.zscore(QUEUE, second.turn_id) is not None
    assert await queue.keys(f"{WAKE}:*") == [], "the worker was woken"


async def test_a_full_worker_that_stops_waits_for_no_room(queue: TurnQueue, redis_url: str) -> None:
    taken = list[str]()

    async def run(leased: LeasedJob) -> None:
        taken.append(leased.job.turn_id)
        await leased.must_stop.wait()
        await leased.requeue()

    async with running_worker(redis_url, run, max_turns=1) as stop:
        await queue.enqueue(a_turn())
        await eventually(lambda: taken)
        stop.set()
    assert await queue.zcard(QUEUE) == 1
    for signal in await queue.keys(f"{WAKE}:*"):
        assert await queue.ttl(signal) > 0, "a signal that nobody took expires"


async def test_a_wait_that_is_refused_leaves_no_claimed_job_behind(queue: TurnQueue, redis_url: str) -> None:
    """As for a user without the right to it: the claim that went out with it has been made."""
    job = a_turn()

    async def run(leased: LeasedJob) -> None:
        await leased.finish(result_of(leased.job))

    worker = LeasedWorker(queue, run, max_turns=1, lease_s=60.0, drain_s=0, job_timeout_s=60)
    plain = worker._connection.calls

    async def calls(*commands: Command) -> list[Any]:
        answers = await plain(*commands)
        return [ResponseError("NOPERM"), answers[-1]] if commands[0][0] == "BLPOP" else answers

    worker._connection.calls = calls  # type: ignore[method-assign]
    await queue.enqueue(job)
    with pytest.raises(ResponseError):
        await worker._poll_once()
    await eventually(lambda: queue.xlen(OUTBOX))
    await worker._connection.close()


async def _is_not_waited_for(queue: TurnQueue) -> bool:
    return not await is_waited_for(queue)


async def test_draining_requeues_unfinished_turns_in_their_old_position(queue: TurnQueue, redis_url: str) -> None:
    job, started = a_turn(), asyncio.Event()

    async def run(leased: LeasedJob) -> None:
        started.set()
        await leased.must_stop.wait()
        await leased.requeue()

    async with running_worker(redis_url, run) as stop:
        await queue.enqueue(job)
        first = await queue.zscore(QUEUE, job.turn_id)
        await asyncio.wait_for(started.wait(), 5)
        stop.set()
        await eventually(lambda: queue.zcard(QUEUE))
        assert first in (None, await queue.zscore(QUEUE, job.turn_id))
        other = a_turn()
        await queue.enqueue(other)
        assert await queue.position(job.turn_id) == 0
        assert await queue.position(other.turn_id) == 1
    assert await queue.zcard(QUEUE) == 2, "a draining worker claims nothing"
