"""The leased queue against a real Redis: jobs, claim snapshots, wake-up tokens and the backlog."""

import asyncio

from shared.outbox import OUTBOX
from shared.turn_queue.job import LeasedJob
from shared.turn_queue.keys import QUEUE
from shared.turn_queue.queue import TurnQueue
from tests.conftest import eventually
from tests.service.shared.turn_queue.rig import (
    Run,
    a_turn,
    count_is,
    keys_of,
    outbox,
    result_of,
    running_worker,
    snapshots_in,
    tokens_in,
)


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
        await eventually(lambda: count_is(queue, 9))
        await eventually(lambda: _no_token_left(queue))


async def _no_token_left(queue: TurnQueue) -> bool:
    return await tokens_in(queue) == 0


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
        await eventually(lambda: count_is(queue, 60))
    assert min(counts.values()) >= 1


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
