"""Turns that change their worker: draining, lost leases, fenced attempts."""

from collections.abc import Awaitable
from typing import cast

from deploy.demo.scripted import scripted_answer
from shared.contracts.frames import BEGINNING, FrameId
from shared.turn_queue.keys import QUEUE
from tests.conftest import eventually
from tests.service.agent_worker.stage import SLOW, Stage, model_stats


async def test_a_draining_worker_requeues_without_using_up_a_try(stage: Stage) -> None:
    async with stage.worker(drain_s=0.2) as stop:
        job = await stage.post(stage.agent("scripted/tokens=60,delay=20,text=echo"))
        await stage.shows(job, "delta")
        stop.set()

        async def is_requeued() -> bool:
            return await stage.queue.position(job.turn_id) == 0

        await eventually(is_requeued, within_s=2.0)
    turn = stage.history.turns[job.turn_id]
    assert (turn.tries, stage.history.released) == (0, [1])
    (used,) = stage.history.spent[1]
    assert used.usage.estimated
    assert used.usage.completion_tokens > 0
    assert await stage.outbox() == {}
    async with stage.worker():
        ended = await stage.ended(job)
    assert ended.turn.attempt == 2
    assert ended.events == ["started", "delta", "restarted", "started", "delta"]
    assert ended.data("restarted") == [{"attempt": 2, "reason": "worker_lost"}]
    assert ended.text == ended.turn.output[0].content == scripted_answer("Hello?", 60)


async def test_a_draining_worker_finishes_what_ends_in_time(stage: Stage) -> None:
    async with stage.worker(drain_s=10) as stop:
        job = await stage.post(stage.agent("scripted/tokens=20,delay=20,text=echo"))
        await stage.shows(job, "delta")
        stop.set()
        ended = await stage.ended(job)
    assert (ended.turn.attempt, ended.turn.status) == (1, "completed")


async def test_a_worker_that_lost_its_lease_writes_nothing_more(stage: Stage) -> None:
    async with stage.worker(lease_s=1.0):
        job = await stage.post(stage.agent("scripted/tokens=60,delay=20,text=echo"))
        await stage.shows(job, "delta")
        await cast("Awaitable[int]", stage.queue.hset(f"{QUEUE}:leases", job.turn_id, "another"))

        async def is_let_go() -> bool:
            return (await model_stats(stage))["active"] == 0

        await eventually(is_let_go)
        seen = await stage.logs.tail(job.workspace, job.turn_id)
        assert await stage.outbox() == {}
        assert await stage.logs.tail(job.workspace, job.turn_id) == seen


async def test_a_worker_fenced_by_the_log_stops_its_model_and_finishes_nothing(stage: Stage) -> None:
    async with stage.worker():
        job = await stage.post(stage.agent(SLOW))
        await stage.shows(job, "delta")
        # History has ended the turn under a higher attempt, as a reconciler does.
        stage.history.turns[job.turn_id].terminal = True
        await stage.logs.append_terminal(job.workspace, job.turn_id, FrameId(2, 1), "error", {})

        async def is_let_go() -> bool:
            return (await model_stats(stage))["active"] == 0

        await eventually(is_let_go, within_s=2.0)

        async def is_gone() -> bool:
            return await stage.queue.missing([job.turn_id]) == [job.turn_id]

        await eventually(is_gone)
    assert await stage.outbox() == {}
    assert await stage.logs.tail(job.workspace, job.turn_id) == FrameId(2, 1)


async def test_a_flushed_redis_costs_nothing_that_was_answered(stage: Stage) -> None:
    async with stage.worker(lease_s=1.0):
        job = await stage.post(stage.agent("scripted/tokens=60,delay=20,text=echo"))
        await stage.shows(job, "delta")
        await stage.queue.flushall()
        ended = await stage.ended(job)
    assert ended.text == ended.turn.output[0].content == scripted_answer("Hello?", 60)
    assert (await stage.logs.read(job.workspace, job.turn_id, BEGINNING))[0][0] == FrameId(1, 1)
