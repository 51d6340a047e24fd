"""Finished turns: stored, then published, then acknowledged, however often they are delivered."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest
from prometheus_client import REGISTRY

from services.history.turns.finalize import TurnFinalizer
from shared.contracts.errors import ApiError, Code
from shared.contracts.turns import FinishedTurn
from shared.ids import new_id
from shared.outbox import GROUP, OUTBOX
from shared.turn_queue.job import LeasedJob
from shared.turn_queue.keys import QUEUE
from tests.conftest import eventually
from tests.service.history.conftest import is_ready
from tests.service.history.running import WORKSPACE, History, finished, message, running, settings_for
from tests.service.shared.turn_queue.rig import running_worker


def fenced() -> float:
    return REGISTRY.get_sample_value("parley_fenced_writes_total", {"where": "turn"}) or 0.0


async def put(history: History, result: FinishedTurn) -> None:
    """Straight into the outbox: a worker that nobody stops."""
    fields: Any = {"turn": result.turn_id, "workspace": result.workspace, "body": orjson.dumps(result.wire())}
    await history.queue.xadd(OUTBOX, fields)


def acknowledged(history: History) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return not await history.queue.xlen(OUTBOX)

    return check


async def test_done_is_a_receipt(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    for number in range(20):
        turn = (await history.admit(session_id, f"q{number}")).turn
        lease = await history.claim(turn.id)
        result = finished(turn.id, lease.claimed.attempt, f"a{number}")
        await lease.job.finish(result)
        await history.wait_for_end(turn.id)
        # At this very moment it is stored.
        stored = await history.client.turn(WORKSPACE, turn.id)
        frame_id, event, data = (await history.frames(turn.id))[-1]
        assert (stored.turn.status, stored.turn.usage, stored.output, stored.last_seq) == (
            "completed",
            result.usage,
            result.output,
            3,
        )
        assert (str(frame_id), event, data["status"]) == ("1-3", "done", "completed")
        assert data["messages"] == [message.public(session_id, turn.id) for message in stored.output]
    await eventually(acknowledged(history), what="the acknowledged outbox")
    assert not await history.queue.exists("parley:turns:finished")


async def test_a_redelivered_result_tells_its_end_again_and_changes_nothing(history: History) -> None:
    await history.publish()
    turn_id = await history.answer(await history.session(), reply="Once.")
    before, frames = await history.document(turn_id), await history.frames(turn_id)
    await put(history, finished(turn_id, 1, "Twice."))
    await eventually(acknowledged(history), what="the acknowledged outbox")
    assert (await history.document(turn_id), await history.frames(turn_id)) == (before, frames)


async def test_an_end_that_was_never_told_is_told_by_the_redelivery(history: History) -> None:
    await history.publish()
    turn_id = await history.answer(await history.session())
    await history.queue.delete(f"turn:{WORKSPACE}:{turn_id}")
    document = await history.client.turn(WORKSPACE, turn_id)
    await put(history, finished(turn_id, 1, output=document.output, last_seq=2))
    await history.wait_for_end(turn_id)
    assert (await history.frames(turn_id))[-1][2]["messages"][0]["content"] == "Hi."


async def test_the_result_of_a_lower_attempt_is_fenced(history: History) -> None:
    await history.publish()
    turn = (await history.admit(await history.session())).turn
    await history.claim(turn.id)
    second = await history.claim(turn.id)
    count = fenced()
    await put(history, finished(turn.id, 1, "A zombie's."))
    await eventually(acknowledged(history), what="the acknowledged outbox")
    assert fenced() == count + 1
    assert await history.frames(turn.id) == []
    assert (await history.document(turn.id))["active"] is True
    await second.job.finish(finished(turn.id, 2, "The heir's."))
    await history.wait_for_end(turn.id)
    assert [message.content for message in (await history.client.turn(WORKSPACE, turn.id)).output] == ["The heir's."]


async def test_a_result_for_a_turn_that_was_erased_is_acknowledged(history: History) -> None:
    await put(history, finished(new_id("trn"), 1))
    await eventually(acknowledged(history), what="the acknowledged outbox")


async def test_a_result_that_is_too_large_ends_the_turn_as_failed(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    turn = (await history.admit(session_id)).turn
    lease = await history.claim(turn.id)
    await lease.job.finish(finished(turn.id, 1, "x" * 17_000_000))
    await history.wait_for_end(turn.id)
    stored = (await history.client.turn(WORKSPACE, turn.id)).turn
    assert stored.error is not None
    assert (stored.status, stored.error["code"], stored.attempt) == ("failed", "turn_failed", 2)
    assert (await history.frames(turn.id))[-1][1] == "error"
    await eventually(acknowledged(history), what="the acknowledged outbox")
    assert (await history.admit(session_id)).created


async def test_a_result_that_cannot_be_read_ends_the_turn_as_failed(history: History) -> None:
    await history.publish()
    turn = (await history.admit(await history.session())).turn
    await history.claim(turn.id)
    await history.queue.xadd(OUTBOX, {"turn": turn.id, "workspace": WORKSPACE, "body": b"{"})
    await history.wait_for_end(turn.id)
    assert (await history.client.turn(WORKSPACE, turn.id)).turn.status == "failed"
    await eventually(acknowledged(history), what="the acknowledged outbox")


async def test_a_turn_whose_job_cannot_be_decoded_ends_as_failed(history: History, redis_url: str) -> None:
    """A worker moves the job to the dead letters. All that history gets to know is the turn's id."""
    await history.publish()
    session_id = await history.session()
    turn = (await history.admit(session_id)).turn
    job: dict[str, Any] = {"t": None, "f": "run_turn", "a": [WORKSPACE, turn.id, "agt", 1, "fifth"], "k": {}, "et": 1}
    await history.queue.set(f"arq:job:{turn.id}", orjson.dumps(job))
    await history.queue.zadd(QUEUE, {turn.id: 1})

    async def run(_: LeasedJob) -> None: ...

    async with running_worker(redis_url, run):
        await history.wait_for_end(turn.id)
    stored = (await history.client.turn(WORKSPACE, turn.id)).turn
    assert stored.error is not None
    assert (stored.status, stored.error["code"]) == ("failed", "turn_failed")
    assert (await history.frames(turn.id))[-1][1] == "error"
    await eventually(acknowledged(history), what="the acknowledged entry")
    assert (await history.admit(session_id)).created, "the session takes its next turn"


async def test_a_failed_turn_keeps_what_was_said(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    turn = (await history.admit(session_id)).turn
    lease = await history.claim(turn.id)
    problem = ApiError(Code.UPSTREAM_ERROR).problem()
    await lease.job.finish(finished(turn.id, 1, status="failed", error=problem, output=(message("half", "assistant"),)))
    await history.wait_for_end(turn.id)
    page = await history.client.messages(WORKSPACE, session_id, {})
    assert [item["content"] for item in page["items"]] == ["Hello?", "half"]
    _, event, data = (await history.frames(turn.id))[-1]
    assert (event, data) == ("error", {"turnId": turn.id, **problem})


async def test_results_of_a_dead_consumer_are_taken_over(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.history.reconcile.outbox.IDLE_MS", 100)
    await history.publish()
    turn = (await history.admit(await history.session())).turn
    await history.claim(turn.id)
    # The group stops reading for us while the dead consumer takes the entry.
    await put(history, finished(turn.id, 1))
    await history.wait_for_end(turn.id)
    other = (await history.admit(await history.session())).turn
    await history.claim(other.id)
    taken = False
    while not taken:
        await put(history, finished(other.id, 1))
        taken = bool(await history.queue.xreadgroup(GROUP, "the dead", {OUTBOX: ">"}, count=1))
    await eventually(acknowledged(history), what="the acknowledged outbox")
    assert (await history.client.turn(WORKSPACE, other.id)).turn.status == "completed"


async def test_many_results_at_once_are_all_stored(history: History) -> None:
    await history.publish()
    sessions = await asyncio.gather(*(history.session() for _ in range(60)))
    turns = [
        admitted.turn.id for admitted in await asyncio.gather(*(history.admit(session_id) for session_id in sessions))
    ]
    leases = await asyncio.gather(*(history.claim(turn_id) for turn_id in turns))
    await asyncio.gather(
        *(lease.job.finish(finished(turn_id, 1)) for turn_id, lease in zip(turns, leases, strict=True))
    )
    await eventually(acknowledged(history), what="the acknowledged outbox")
    assert await history.count(status="completed", active=False) == 60


async def test_a_flushed_outbox_is_read_again(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    await history.answer(session_id)
    await history.queue.flushdb()
    await history.answer(session_id)


async def test_a_history_that_leaves_finishes_what_it_has_and_leaves_the_group(
    mongodb_uri: str, redis_url: str
) -> None:
    settings = settings_for(mongodb_uri, redis_url)
    async with running(settings) as history:
        await eventually(lambda: is_ready(history), what="a ready history")
        await history.publish()
        turn = (await history.admit(await history.session())).turn
        await history.claim(turn.id)
        await put(history, finished(turn.id, 1))
        name = history.dependencies.outbox.name.encode()
        queue = history.queue

        async def joined() -> bool:
            return name in {consumer["name"] for consumer in await queue.xinfo_consumers(OUTBOX, GROUP)}

        await eventually(joined, what="the consumer in its group")
    async with running(settings) as successor:
        assert name not in {consumer["name"] for consumer in await successor.queue.xinfo_consumers(OUTBOX, GROUP)}
        await eventually(acknowledged(successor), what="the acknowledged outbox")
        assert (await successor.document(turn.id))["status"] == "completed"


async def test_a_turn_is_counted_before_it_ends(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a reader could find it neither active nor counted, and nobody would repeat an interrupted count."""
    await history.publish()
    session_id = await history.session()
    turn = (await history.admit(session_id)).turn
    lease = await history.claim(turn.id)
    counted_at_end: list[int] = []
    plain = TurnFinalizer._write_end

    async def write_end(self: TurnFinalizer, *rest: Any) -> bool:
        document = await history.documents.sessions.find_one({"_id": session_id})
        counted_at_end.append(document["turnCount"])
        return await plain(self, *rest)

    monkeypatch.setattr(TurnFinalizer, "_write_end", write_end)
    await lease.job.finish(finished(turn.id, 1))
    await history.wait_for_end(turn.id)
    other = (await history.admit(session_id)).turn
    await history.client.cancel(WORKSPACE, other.id)
    await history.wait_for_end(other.id)
    assert counted_at_end == [1, 2]
