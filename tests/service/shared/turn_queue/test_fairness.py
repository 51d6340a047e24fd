"""Waiting jobs are dealt to their flows in turn: no flow's flood delays another's turn."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack

import pytest

from shared.contracts.jobs import RunTurn
from shared.outbox import OUTBOX
from shared.turn_queue import scripts
from shared.turn_queue.job import LeasedJob
from shared.turn_queue.keys import QUEUE, WAKE
from shared.turn_queue.queue import TurnQueue
from tests.conftest import eventually
from tests.service.shared.turn_queue.rig import claimed, count_is, flow_turn, result_of, running_worker

FLOOD = 5_000
# Each takes a connection: many more at once than this overflow what a busy server has not accepted yet.
AT_ONCE = 50


async def flood(queue: TurnQueue, count: int, flow: str = "key_flood") -> None:
    for start in range(0, count, AT_ONCE):
        await asyncio.gather(*(queue.enqueue(flow_turn(flow)) for _ in range(start, min(count, start + AT_ONCE))))


async def flows_of(queue: TurnQueue, jobs: int, at_once: int = 1) -> list[str]:
    """The flows of the next jobs, in the order in which they are dealt."""
    dealt: list[str] = []
    while len(dealt) < jobs:
        dealt += [job.flow for job in await claimed(queue, at_once)]
    return dealt


@pytest.mark.parametrize("workers", [1, 3])
async def test_a_turn_behind_a_flood_starts_within_two_turns_time(
    queue: TurnQueue, redis_url: str, workers: int
) -> None:
    """Counted in turns, not in seconds: a worker runs one turn at a time."""
    started, lone = list[str](), flow_turn("key_lone")

    async def run(leased: LeasedJob) -> None:
        started.append(leased.job.turn_id)
        await leased.finish(result_of(leased.job))

    await flood(queue, FLOOD)
    async with AsyncExitStack() as stack:
        for _ in range(workers):
            await stack.enter_async_context(running_worker(redis_url, run, max_turns=1))
        await eventually(lambda: len(started) > 20)
        assert await queue.enqueue(lone) <= 1
        before = len(started)
        await eventually(lambda: lone.turn_id in started)
    # Each worker ran one turn when the lone turn came, and may have had the next one on the way; then it was its turn.
    assert started.index(lone.turn_id) - before <= 2 * workers


async def test_flows_are_dealt_in_turn_and_the_oldest_of_each_first(queue: TurnQueue) -> None:
    jobs = {flow: [flow_turn(flow, enqueued_at=1_000 + n) for n in range(3)] for flow in ("a", "b", "c")}
    for flow in jobs.values():
        for job in reversed(flow):  # The order of age counts, not the order of arrival.
            await queue.enqueue(job)
    dealt = [job.turn_id for _ in range(3) for job in await claimed(queue, 3)]
    for place in range(3):
        assert set(dealt[3 * place : 3 * place + 3]) == {flow[place].turn_id for flow in jobs.values()}


async def test_weights_of_one_and_three_are_dealt_one_to_three(queue: TurnQueue) -> None:
    for _ in range(60):
        await queue.enqueue(flow_turn("light"))
        await queue.enqueue(flow_turn("heavy", weight=3))
    dealt = await flows_of(queue, 40)
    for taken in range(4, 41, 4):
        assert abs(dealt[:taken].count("light") - taken / 4) <= 1, dealt
    assert Counter(dealt) == {"light": 10, "heavy": 30}


async def test_a_changed_weight_counts_from_the_next_job_on(queue: TurnQueue) -> None:
    for _ in range(30):
        await queue.enqueue(flow_turn("light"))
        await queue.enqueue(flow_turn("other"))
    assert Counter(await flows_of(queue, 10)) == {"light": 5, "other": 5}
    await queue.enqueue(flow_turn("other", weight=4))
    assert Counter(await flows_of(queue, 20))["other"] >= 15


async def test_a_flow_that_comes_back_again_and_again_starves_nobody(queue: TurnQueue) -> None:
    """Its queue is empty each time, so nothing is kept of it: it must have no advantage."""
    await flood(queue, 20, "patient")
    dealt: list[str] = []
    for _ in range(20):
        await queue.enqueue(flow_turn("eager"))
        dealt += await flows_of(queue, 1)
    assert 9 <= dealt.count("patient") <= 11


async def test_ever_new_flows_starve_nobody(queue: TurnQueue) -> None:
    await flood(queue, 2, "patient")
    dealt: list[str] = []
    for number in range(30):
        await queue.enqueue(flow_turn(f"new{number}a"))
        await queue.enqueue(flow_turn(f"new{number}b"))
        dealt += await flows_of(queue, 1)
    assert dealt.count("patient") == 2, "arrivals outnumber claims two to one, and still the older flow is served"


async def test_empty_flows_leave_nothing_behind(queue: TurnQueue) -> None:
    for number in range(50):
        await queue.enqueue(flow_turn(f"key{number}", weight=1 + number % 3))
    cancelled = flow_turn("key_cancelled", weight=9)
    await queue.enqueue(cancelled)
    await queue.forget(cancelled.turn_id)
    while jobs := await claimed(queue, 7):
        for job in jobs:
            await queue.forget(job.turn_id)
    left = {key.decode() async for key in queue.scan_iter("*") if b":ended:" not in key}
    assert left <= {WAKE}


async def test_a_cancelled_turn_costs_its_flow_nothing(queue: TurnQueue) -> None:
    await flood(queue, 20, "other")
    gone = [flow_turn("key") for _ in range(10)]
    for job in gone:
        await queue.enqueue(job)
    await queue.enqueue(flow_turn("key"))
    for job in gone:
        await queue.forget(job.turn_id)
    assert "key" in await flows_of(queue, 2)


async def test_a_requeued_job_is_the_next_one_and_keeps_its_age(queue: TurnQueue) -> None:
    job = flow_turn("key", enqueued_at=1_000)
    await queue.enqueue(job)
    await flood(queue, 5, "key")
    await flood(queue, 5, "other")
    (turn,) = await claimed(queue, 1, "w")
    while turn.flow != "key":
        (turn,) = await claimed(queue, 1, "w")
    assert turn.turn_id == job.turn_id
    assert await queue.run_script(scripts.REQUEUE, job.turn_id, await holder_of(queue, job), 0) == 1
    assert (await claimed(queue, 1))[0].turn_id == job.turn_id
    assert await queue.zscore(QUEUE, job.turn_id) is None


async def test_a_delayed_job_waits_for_its_time_and_returns_to_its_flow(queue: TurnQueue) -> None:
    job = flow_turn("key")
    await queue.enqueue(job)
    await claimed(queue, 1)
    await queue.run_script(scripts.REQUEUE, job.turn_id, await holder_of(queue, job), 60_000)
    await flood(queue, 5, "other")
    assert await flows_of(queue, 1) == ["other"]
    assert await queue.missing([job.turn_id]) == []
    await queue.zadd(f"{QUEUE}:delayed", {job.turn_id: 1})  # As after its time.
    assert "key" in await flows_of(queue, 2)


async def test_a_lapsed_lease_is_taken_over_before_the_flood(queue: TurnQueue) -> None:
    job = flow_turn("key")
    await queue.enqueue(job)
    await claimed(queue, 1)
    await flood(queue, 5, "other")
    await queue.zadd(f"{QUEUE}:running", {job.turn_id: 1})
    assert (await claimed(queue, 1))[0] == job


async def test_the_oldest_jobs_age_is_told_whichever_flow_it_has(queue: TurnQueue) -> None:
    """After a flush the turns are enqueued again: their age is that of their admission."""
    await flood(queue, 3, "young")
    await queue.enqueue(flow_turn("old", enqueued_at=1_000_000_000_000))
    count, age_s = await queue.backlog()
    assert count == 4
    assert age_s > 86_400


async def test_the_position_counts_the_jobs_that_are_dealt_before(queue: TurnQueue) -> None:
    for n in range(9):
        await queue.enqueue(flow_turn("flood", enqueued_at=1_000 + n))
    lone, second = flow_turn("lone", enqueued_at=1_000), flow_turn("lone", enqueued_at=2_000)
    assert await queue.enqueue(lone) == 1
    assert await queue.enqueue(second) == 3
    last = flow_turn("flood")
    assert await queue.enqueue(last) == 11, "all that wait, and no more"
    assert [await queue.position(job.turn_id) for job in (lone, second, last)] == [1, 3, 11]
    assert await queue.position("trn_absent") is None


async def holder_of(queue: TurnQueue, job: RunTurn) -> str:
    return await queue.holder(job.turn_id) or ""


async def test_a_result_of_every_job_arrives_once_however_the_flows_are_mixed(queue: TurnQueue, redis_url: str) -> None:
    async def run(leased: LeasedJob) -> None:
        await leased.finish(result_of(leased.job))

    jobs: Sequence[RunTurn] = [flow_turn(f"key{n % 7}", weight=1 + n % 3) for n in range(200)]
    async with running_worker(redis_url, run), running_worker(redis_url, run):
        await asyncio.gather(*(queue.enqueue(job) for job in jobs))
        await eventually(lambda: count_is(queue, len(jobs)))
    entries = [fields[b"turn"].decode() for _, fields in await queue.xrange(OUTBOX)]
    assert sorted(entries) == sorted(job.turn_id for job in jobs)
    assert not {key async for key in queue.scan_iter(f"{QUEUE}:flow:*")}
