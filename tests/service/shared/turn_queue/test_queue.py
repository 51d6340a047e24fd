"""The leased queue against a real Redis."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from redis.exceptions import ResponseError

from shared.broker.redis_py import Command
from shared.contracts.jobs import RunTurn
from shared.contracts.turns import FinishedTurn
from shared.ids import new_id
from shared.outbox import OUTBOX
from shared.turn_queue.job import LeasedJob
from shared.turn_queue.keys import QUEUE, WAKE
from shared.turn_queue.queue import ENDED_MARK_MS, TurnQueue
from shared.turn_queue.worker import LeasedWorker
from tests.conftest import eventually

Run = Callable[[LeasedJob], Awaitable[None]]


def a_turn() -> RunTurn:
    return RunTurn("ws", new_id("trn"), "agt", 1)


def result_of(job: RunTurn, attempt: int = 1) -> FinishedTurn:
    return FinishedTurn(
        workspace=job.workspace, turn_id=job.turn_id, attempt=attempt, status="completed", ended_at=datetime.now(UTC)
    )


@pytest.fixture
async def queue(redis_url: str) -> AsyncIterator[TurnQueue]:
    queue = TurnQueue.connect(redis_url)
    yield queue
    await queue.aclose()


@asynccontextmanager
async def running_worker(
    redis_url: str, run: Run, *, lease_s: float = 1.0, drain_s: float = 0.2, max_turns: int = 10
) -> AsyncIterator[asyncio.Event]:
    """A worker on a client of its own; set the event to drain it."""
    own, stop = TurnQueue.connect(redis_url), asyncio.Event()
    worker = LeasedWorker(own, run, max_turns=max_turns, lease_s=lease_s, drain_s=drain_s, job_timeout_s=60)
    task = asyncio.create_task(worker.serve(stop))
    try:
        yield stop
    finally:
        stop.set()
        await task
        await own.aclose()


async def keys_of(queue: TurnQueue, turn_id: str) -> list[str]:
    return [key.decode() async for key in queue.scan_iter(f"*{turn_id}*")]


async def outbox(queue: TurnQueue) -> list[bytes]:
    return [fields[b"turn"] for _, fields in await queue.xrange(OUTBOX)]


async def snapshots_in(queue: TurnQueue) -> int:
    return int(await queue.execute_command("HLEN", f"{QUEUE}:snapshots"))


async def tokens_in(queue: TurnQueue) -> int:
    return int(await queue.execute_command("LLEN", WAKE))


async def test_a_job_starts_when_it_comes_and_its_result_replaces_it(queue: TurnQueue, redis_url: str) -> None:
    job = a_turn()

    async def run(leased: LeasedJob) -> None:
        assert leased.job == job
        assert await leased.finish(result_of(leased.job))

    async with running_worker(redis_url, run):
        assert await queue.enqueue(job) == 0
        await eventually(lambda: queue.xlen(OUTBOX))
    assert await outbox(queue) == [job.turn_id.encode()]
    assert await keys_of(queue, job.turn_id) == []
    assert await queue.zcard(f"{QUEUE}:running") == 0


async def test_enqueueing_twice_makes_one_job_and_a_finished_turn_none(queue: TurnQueue, redis_url: str) -> None:
    job, runs = a_turn(), list[str]()

    async def run(leased: LeasedJob) -> None:
        runs.append(leased.claim_id)
        await leased.finish(result_of(leased.job))

    await queue.enqueue(job)
    await queue.enqueue(job)
    async with running_worker(redis_url, run):
        await eventually(lambda: queue.xlen(OUTBOX))
        await queue.enqueue(job)
        assert await queue.missing([job.turn_id, "trn_other"]) == ["trn_other"]
    assert len(runs) == 1
    assert await queue.zcard(QUEUE) == 0


async def test_a_claim_snapshot_is_for_the_first_claim_alone(queue: TurnQueue, redis_url: str) -> None:
    job, snapshots = a_turn(), list[bytes | None]()

    async def run(leased: LeasedJob) -> None:
        snapshots.append(leased.snapshot)
        assert await snapshots_in(queue) == 0, "what was said does not stay in Redis"
        await (leased.requeue() if len(snapshots) == 1 else leased.finish(result_of(leased.job)))

    await queue.enqueue(job, "what to ask")
    await queue.enqueue(job, "something else")
    async with running_worker(redis_url, run):
        await eventually(lambda: queue.xlen(OUTBOX))
    assert snapshots == [b"what to ask", None]


async def test_a_job_that_is_forgotten_leaves_no_snapshot(queue: TurnQueue) -> None:
    job = a_turn()
    await queue.enqueue(job, "what to ask")
    assert await snapshots_in(queue) == 1
    await queue.forget(job.turn_id)
    assert await snapshots_in(queue) == 0


async def test_claims_leave_as_many_tokens_as_jobs_wait(queue: TurnQueue, redis_url: str) -> None:
    """More would wake workers for nothing, fewer would let a job wait for the next poll."""
    started, go_on = list[str](), asyncio.Event()

    async def run(leased: LeasedJob) -> None:
        started.append(leased.job.turn_id)
        await go_on.wait()
        await leased.finish(result_of(leased.job))

    for _ in range(9):
        await queue.enqueue(a_turn())
    async with running_worker(redis_url, run, max_turns=6):
        await eventually(lambda: len(started) == 6)
        assert (await queue.zcard(QUEUE), await tokens_in(queue)) == (3, 3)
        go_on.set()
        await eventually(lambda: _count_is(queue, 9))
        await eventually(lambda: _none_left(queue))


async def _none_left(queue: TurnQueue) -> bool:
    return await tokens_in(queue) == 0


async def test_what_comes_while_a_worker_stops_waits_for_another(queue: TurnQueue, redis_url: str) -> None:
    """Claim and wait are pipelined, so a claim may bring a job that the worker must not start any more. It is requeued at once."""
    began = list[str]()

    async def run(leased: LeasedJob) -> None:
        began.append(leased.job.turn_id)
        await leased.finish(result_of(leased.job))

    for pause_s in (0.0, 0.0005, 0.001, 0.0015, 0.002) * 4:
        job = a_turn()
        async with running_worker(redis_url, run, lease_s=60) as stop:
            await eventually(lambda: _is_waited_for(queue))
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
        await eventually(lambda: _is_waited_for(queue))
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


async def _is_waited_for(queue: TurnQueue) -> bool:
    return any(client["cmd"] == "blpop" for client in await queue.client_list())


async def _is_not_waited_for(queue: TurnQueue) -> bool:
    return not await _is_waited_for(queue)


async def test_an_acknowledged_turn_may_be_enqueued_again(queue: TurnQueue, redis_url: str) -> None:
    job = a_turn()

    async def run(leased: LeasedJob) -> None:
        await leased.finish(result_of(leased.job))

    await queue.xgroup_create(OUTBOX, "history", "0", mkstream=True)
    async with running_worker(redis_url, run):
        await queue.enqueue(job)
        await eventually(lambda: queue.xlen(OUTBOX))
    ((_, entries),) = await queue.xreadgroup("history", "one", {OUTBOX: ">"})
    await queue.acknowledge(entries[0][0], job.turn_id)
    assert await queue.xlen(OUTBOX) == 0
    assert await queue.missing([job.turn_id]) == [job.turn_id]


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


async def test_workers_share_a_burst(queue: TurnQueue, redis_url: str) -> None:
    counts, release = {"a": 0, "b": 0}, asyncio.Event()

    def runner(name: str) -> Run:
        async def run(leased: LeasedJob) -> None:
            counts[name] += 1
            await release.wait()
            await leased.finish(result_of(leased.job))

        return run

    async with (
        running_worker(redis_url, runner("a"), max_turns=100),
        running_worker(redis_url, runner("b"), max_turns=100),
    ):
        await asyncio.gather(*(queue.enqueue(a_turn()) for _ in range(60)))
        await eventually(lambda: sum(counts.values()) == 60)
        release.set()
        await eventually(lambda: _count_is(queue, 60))
    assert min(counts.values()) >= 1


async def _count_is(queue: TurnQueue, count: int) -> bool:
    return bool(await queue.xlen(OUTBOX) == count)


async def test_a_restarted_connection_ends_no_worker(queue: TurnQueue, redis_url: str) -> None:
    runs = list[str]()

    async def run(leased: LeasedJob) -> None:
        runs.append(leased.job.turn_id)
        await leased.finish(result_of(leased.job))

    async with running_worker(redis_url, run):
        for _ in range(3):
            job = a_turn()
            await queue.client_kill_filter(_type="normal", skipme=True)
            await queue.client_kill_filter(_type="pubsub", skipme=True)
            await queue.enqueue(job)
            await eventually(lambda job=job: job.turn_id in runs)  # type: ignore[misc]


async def test_backlog_tells_count_and_age(queue: TurnQueue) -> None:
    assert await queue.backlog() == (0, 0.0)
    await queue.enqueue(a_turn())
    await queue.enqueue(a_turn())
    await eventually(lambda: _older_than(queue, 0.03))
    assert (await queue.backlog())[0] == 2


async def _older_than(queue: TurnQueue, age_s: float) -> bool:
    return (await queue.backlog())[1] > age_s


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
