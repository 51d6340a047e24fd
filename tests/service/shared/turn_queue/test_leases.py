"""Leases: renewed, lapsed, restored, lost; and cancel signals to their holders."""

import asyncio
from collections.abc import Awaitable
from typing import cast

import pytest

from shared.contracts.jobs import RunTurn
from shared.outbox import OUTBOX
from shared.turn_queue.job import LeasedJob
from shared.turn_queue.keys import QUEUE
from shared.turn_queue.queue import ENDED_MARK_MS, TurnQueue
from shared.turn_queue.worker import LeasedWorker
from tests.conftest import eventually
from tests.service.shared.turn_queue.rig import (
    a_turn,
    result_of,
    running_worker,
)


async def test_a_dead_workers_job_is_taken_over_when_its_lease_lapses(queue: TurnQueue, redis_url: str) -> None:
    job, other = a_turn(), a_turn()
    claims = list[str]()

    # A worker that claims and is never heard of again.
    silent = LeasedWorker(queue, lambda _: asyncio.sleep(0), max_turns=1, lease_s=0.6, drain_s=0, job_timeout_s=60)
    await queue.enqueue(job)
    silent._runs.start = lambda job: claims.append(job.claim_id)  # type: ignore[method-assign]
    await silent._poll_once()
    await silent._connection.close()
    await queue.enqueue(other)

    order = list[str]()

    async def run(leased: LeasedJob) -> None:
        order.append(leased.job.turn_id)
        claims.append(leased.claim_id)
        await leased.finish(result_of(leased.job))

    await eventually(lambda: _lapsed(queue, job))
    async with running_worker(redis_url, run, lease_s=0.6):
        await eventually(lambda: len(order) == 2)
    assert order == [job.turn_id, other.turn_id], "a lapsed job keeps its place before the backlog"
    assert len(set(claims)) == 3


async def _lapsed(queue: TurnQueue, job: RunTurn) -> bool:
    return await queue.holder(job.turn_id) is None


async def test_a_long_job_keeps_its_lease(queue: TurnQueue, redis_url: str) -> None:
    job, release, runs = a_turn(), asyncio.Event(), list[str]()

    async def run(leased: LeasedJob) -> None:
        runs.append(leased.claim_id)
        await release.wait()
        await leased.finish(result_of(leased.job))

    async with running_worker(redis_url, run, lease_s=0.4), running_worker(redis_url, run, lease_s=0.4):
        await queue.enqueue(job)
        await eventually(lambda: bool(runs))
        first_end = await queue.zscore(f"{QUEUE}:running", job.turn_id)
        await eventually(lambda: _renewed(queue, job, first_end + 1000))
        assert await queue.holder(job.turn_id) == runs[0]
        release.set()
        await eventually(lambda: queue.xlen(OUTBOX))
    assert len(runs) == 1


async def _renewed(queue: TurnQueue, job: RunTurn, past: float) -> bool:
    return float(await queue.zscore(f"{QUEUE}:running", job.turn_id) or 0) > past


async def test_a_flush_costs_a_running_turn_nothing(queue: TurnQueue, redis_url: str) -> None:
    job, release, runs = a_turn(), asyncio.Event(), list[str]()

    async def run(leased: LeasedJob) -> None:
        runs.append(leased.claim_id)
        await release.wait()
        assert await leased.finish(result_of(leased.job))

    async with running_worker(redis_url, run):
        await queue.enqueue(job)
        await eventually(lambda: bool(runs))
        await queue.flushall()
        await eventually(lambda: _held_by(queue, job, runs[0]))
        release.set()
        await eventually(lambda: queue.xlen(OUTBOX))
    assert len(runs) == 1


async def test_a_worker_cannot_restore_a_turn_that_history_has_ended(queue: TurnQueue, redis_url: str) -> None:
    job, cancelled, finished = a_turn(), asyncio.Event(), list[bool]()

    async def run(leased: LeasedJob) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            finished.append(await leased.finish(result_of(leased.job)))
            cancelled.set()
            raise

    async with running_worker(redis_url, run):
        await queue.enqueue(job)
        await eventually(lambda: queue.holder(job.turn_id))
        await queue.forget(job.turn_id)
        await asyncio.wait_for(cancelled.wait(), 5)
        assert await queue.holder(job.turn_id) is None
    # History gets the result, discards it, and erases a log that the worker wrote after the turn's erasure.
    assert finished == [True]
    assert await queue.xlen(OUTBOX) == 1
    assert 0 < await queue.pttl(f"{QUEUE}:ended:{job.turn_id}") <= ENDED_MARK_MS


async def _held_by(queue: TurnQueue, job: RunTurn, claim_id: str) -> bool:
    return await queue.holder(job.turn_id) == claim_id


async def test_a_worker_whose_lease_was_taken_is_cancelled_and_cannot_finish(queue: TurnQueue, redis_url: str) -> None:
    job, cancelled, refused = a_turn(), asyncio.Event(), list[bool]()

    async def run(leased: LeasedJob) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            refused.append(await leased.finish(result_of(leased.job)))
            cancelled.set()
            raise

    async with running_worker(redis_url, run):
        await queue.enqueue(job)
        await eventually(lambda: queue.hlen(f"{QUEUE}:leases"))
        await cast("Awaitable[int]", queue.hset(f"{QUEUE}:leases", job.turn_id, "another"))
        await asyncio.wait_for(cancelled.wait(), 5)
    assert refused == [False]
    assert await queue.xlen(OUTBOX) == 0
    assert await queue.holder(job.turn_id) == "another"


async def test_a_job_that_was_requeued_is_not_finished_by_its_old_holder(queue: TurnQueue, redis_url: str) -> None:
    job, old = a_turn(), list[LeasedJob]()

    async def run(leased: LeasedJob) -> None:
        old.append(leased)
        await leased.requeue(60)

    async with running_worker(redis_url, run):
        await queue.enqueue(job)
        await eventually(lambda: bool(old) and old[0].acknowledged)
    old[0]._queue = queue
    assert await old[0].finish(result_of(job)) is False
    assert await queue.zcard(QUEUE) == 1


async def test_a_cancel_signal_reaches_the_worker_that_runs_the_turn(queue: TurnQueue, redis_url: str) -> None:
    job, started, told_to_cancel = a_turn(), asyncio.Event(), asyncio.Event()

    async def run(leased: LeasedJob) -> None:
        started.set()
        await leased.cancelled.wait()
        told_to_cancel.set()
        await leased.finish(result_of(leased.job))

    async with running_worker(redis_url, run):
        await queue.enqueue(job)
        await asyncio.wait_for(started.wait(), 5)
        while not told_to_cancel.is_set():
            await queue.signal_cancel(job.turn_id)
            await asyncio.sleep(0.02)


async def test_a_silent_control_channel_is_subscribed_to_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.broker.pubsub.SILENCE_LIMIT_S", 0.3)
    monkeypatch.setattr("shared.broker.pubsub.PROBE_S", 0.05)
    subscriptions = 0

    async def confirm_and_fall_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal subscriptions
        while data := await reader.read(1 << 16):
            if b"SUBSCRIBE" in data:
                subscriptions += 1
                writer.write(b"*3\r\n$9\r\nsubscribe\r\n$20\r\nparley:turns:control\r\n:1\r\n")
            elif b"SETINFO" in data:
                writer.write(b"+OK\r\n" * data.count(b"SETINFO"))
        writer.close()

    async def nothing(_: LeasedJob) -> None: ...

    server = await asyncio.start_server(confirm_and_fall_silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, running_worker(f"redis://127.0.0.1:{port}/0", nothing):
        await eventually(lambda: subscriptions > 1)


async def test_a_worker_that_claims_its_own_lapsed_turn_ends_the_older_run(queue: TurnQueue, redis_url: str) -> None:
    job, runs, ended = a_turn(), list[str](), list[str]()

    async def run(leased: LeasedJob) -> None:
        runs.append(leased.claim_id)
        try:
            await leased.must_stop.wait()
            await leased.requeue()
        except asyncio.CancelledError:
            ended.append(leased.claim_id)
            raise

    async with running_worker(redis_url, run, lease_s=20):
        await queue.enqueue(job)
        await eventually(lambda: len(runs) == 1)
        await queue.zadd(f"{QUEUE}:running", {job.turn_id: 1})  # As after a pause longer than the lease.
        await eventually(lambda: len(runs) == 2)
        await eventually(lambda: ended == runs[:1])
        assert await queue.holder(job.turn_id) == runs[1]
