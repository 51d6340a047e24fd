"""What the reconciler repairs, and what it leaves alone."""

import asyncio
from datetime import timedelta
from typing import Any

import orjson
import pytest
from redis.exceptions import RedisError

from shared.contracts.errors import ApiError, Code
from shared.outbox import OUTBOX
from shared.run_log.reader import RunLogs
from tests.conftest import eventually
from tests.service.history.running import WORKSPACE, History, completion, finished, now


async def age(history: History, turn_id: str, **seconds: float) -> None:
    """Makes the turn older by its fields."""
    change = {name: now() - timedelta(seconds=value) for name, value in seconds.items()}
    await history.documents.turns.update_one({"_id": turn_id}, {"$set": change})


async def waits(history: History, turn_id: str) -> bool:
    return await history.queue.position(turn_id) is not None


async def failed_with(history: History, turn_id: str) -> str:
    await history.wait_for_end(turn_id)
    turn = (await history.client.turn(WORKSPACE, turn_id)).turn
    assert turn.status == "failed"
    assert turn.error is not None
    assert (await history.frames(turn_id))[-1][1:] == ("error", {"turnId": turn_id, **turn.error})
    return str(turn.error["code"])


async def test_an_admitted_turn_without_a_job_is_enqueued(history: History) -> None:
    await history.publish()
    turn = (await history.admit(await history.session())).turn
    await eventually(lambda: waits(history, turn.id), within_s=5.0, what="the job")
    assert (await history.claim(turn.id)).claimed.run


async def test_a_flush_costs_no_turn(history: History) -> None:
    await history.publish()
    running = (await history.admit(await history.session())).turn
    waiting = (await history.admit(await history.session())).turn
    await history.claim(running.id)
    await history.enqueue(waiting.id)
    await history.queue.flushdb()
    for turn in (running, waiting):
        await eventually(lambda turn=turn: waits(history, turn.id), within_s=5.0, what="the job")  # type: ignore[misc]
    assert (await history.claim(running.id)).claimed.attempt == 2
    assert (await history.claim(waiting.id)).claimed.attempt == 1


async def test_a_turn_in_good_hands_is_left_alone(history: History) -> None:
    await history.publish()
    turn = (await history.admit(await history.session())).turn
    await history.claim(turn.id)
    before = await history.document(turn.id)
    await age(history, turn.id, createdAt=100)
    for _ in range(3):
        await history.dependencies.reconciler.round()
    assert await history.document(turn.id) == before | {"createdAt": (await history.document(turn.id))["createdAt"]}
    assert not await waits(history, turn.id)


async def test_a_turn_past_its_deadline_fails_and_frees_its_session_and_key(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    turn = (await history.admit(session_id, idempotency_key="k")).turn
    lease = await history.claim(turn.id)
    await history.write(turn.id, 1, "half")
    await age(history, turn.id, createdAt=400, firstClaimAt=306)
    assert await failed_with(history, turn.id) == "turn_timeout"
    stored = await history.client.turn(WORKSPACE, turn.id)
    assert [message.content for message in stored.output] == ["half"]
    assert stored.turn.attempt == 2
    assert (await history.admit(session_id, idempotency_key="k")).created
    # The worker was not dead: its result is refused.
    await lease.job.finish(finished(turn.id, 1, "Too late."))
    await eventually(lambda: _acknowledged(history), what="the acknowledged outbox")
    assert (await history.client.turn(WORKSPACE, turn.id)).output == stored.output


async def _acknowledged(history: History) -> bool:
    return not await history.queue.xlen(OUTBOX)


async def test_a_turn_at_its_deadline_is_given_some_grace(history: History) -> None:
    await history.publish()
    turn = (await history.admit(await history.session())).turn
    await history.claim(turn.id)
    await age(history, turn.id, createdAt=400, firstClaimAt=300.5)
    await history.dependencies.reconciler.round()
    assert (await history.client.turn(WORKSPACE, turn.id)).turn.status == "running"


async def test_the_deadline_counts_from_the_first_claim(history: History) -> None:
    await history.publish()
    turn = (await history.admit(await history.session())).turn
    await age(history, turn.id, createdAt=3_000)
    await history.dependencies.reconciler.round()
    started = (await history.claim(turn.id)).started
    assert started.started
    assert started.remaining_s > 290
    assert started.waited_ms >= 3_000_000
    # Of a later attempt too, it is the wait for the first one.
    await age(history, turn.id, createdAt=3_000, firstClaimAt=100)
    await history.lapse(turn.id)
    again = (await history.claim(turn.id)).started
    assert (again.started, again.waited_ms // 1000) == (True, 2_900)
    assert 195 < again.remaining_s <= 200


async def test_a_turn_that_no_worker_takes_fails_in_the_end(history: History) -> None:
    await history.publish()
    turn = (await history.admit(await history.session())).turn
    await history.enqueue(turn.id)
    await age(history, turn.id, createdAt=3_601)
    assert await failed_with(history, turn.id) == "turn_timeout"
    assert not await waits(history, turn.id)


async def test_a_turn_out_of_tries_that_nobody_holds_fails(history: History) -> None:
    await history.publish()
    turn = (await history.admit(await history.session())).turn
    await history.claim(turn.id)
    await age(history, turn.id, createdAt=100)
    await history.documents.turns.update_one({"_id": turn.id}, {"$set": {"tries": 3}})
    for _ in range(3):
        await history.dependencies.reconciler.round()
    assert (await history.client.turn(WORKSPACE, turn.id)).turn.status == "running"
    await history.lapse(turn.id)
    assert await failed_with(history, turn.id) == "turn_failed"


async def test_a_result_on_its_way_outruns_every_verdict(history: History) -> None:
    await history.publish()
    turn = (await history.admit(await history.session())).turn
    await history.claim(turn.id)
    # As old as it can be, and without a job; but its result is in the outbox, in the hands of a consumer that has died.
    body = orjson.dumps(finished(turn.id, 1, "In time.").wire())
    fields: Any = {"turn": turn.id, "workspace": WORKSPACE, "body": body}
    async with history.queue.pipeline(transaction=True) as pipeline:
        pipeline.xadd(OUTBOX, fields)
        pipeline.xreadgroup("history", "the dead", {OUTBOX: ">"})
        await pipeline.execute()
    await history.queue.zrem("parley:turns:running", turn.id)
    await age(history, turn.id, createdAt=5_000, firstClaimAt=4_000)
    await history.wait_for_end(turn.id)
    stored = await history.client.turn(WORKSPACE, turn.id)
    assert (stored.turn.status, [message.content for message in stored.output]) == ("completed", ["In time."])


async def test_a_completion_is_erased_when_its_time_is_up(history: History) -> None:
    await history.publish()
    wanted = completion("my secret", idempotency_key="k", body_digest="d")
    turn = (await history.client.admit(WORKSPACE, wanted)).turn
    kept = (await history.client.admit(WORKSPACE, completion("keep it", store=True))).turn
    for admitted in (turn, kept):
        lease = await history.claim(admitted.id)
        await lease.job.finish(finished(admitted.id, 1, "another secret"))
        await history.wait_for_end(admitted.id)
        await age(history, admitted.id, endedAt=901)

    async def erased() -> bool:
        return (await history.client.turn(WORKSPACE, turn.id)).erased

    await eventually(erased, what="the erasure")
    stored = await history.client.turn(WORKSPACE, turn.id)
    assert (stored.input, stored.output, stored.completion) == ((), (), None)
    assert stored.turn.usage is not None
    document = await history.document(turn.id)
    assert "secret" not in str(document)
    assert document["expiresAt"] > now() + timedelta(days=6)
    with pytest.raises(ApiError) as raised:
        await history.client.admit(WORKSPACE, completion("my secret", idempotency_key="k", body_digest="d"))
    assert raised.value.code is Code.GONE
    assert [message.content for message in (await history.client.turn(WORKSPACE, kept.id)).output] == ["another secret"]


async def test_a_completion_that_still_runs_is_not_erased(history: History) -> None:
    await history.publish()
    turn = (await history.client.admit(WORKSPACE, completion())).turn
    await history.claim(turn.id)
    await age(history, turn.id, createdAt=100)
    await history.dependencies.reconciler.round()
    assert not (await history.client.turn(WORKSPACE, turn.id)).erased


async def test_reconcilers_of_two_processes_agree(history: History) -> None:
    await history.publish()
    turns = [(await history.admit(await history.session())).turn.id for _ in range(20)]
    for turn_id in turns:
        await history.claim(turn_id)
        await age(history, turn_id, createdAt=400, firstClaimAt=306)
    await asyncio.gather(*(history.dependencies.reconciler.round() for _ in range(3)))
    for turn_id in turns:
        assert (await history.document(turn_id))["attempt"] == 2
        assert len(await history.frames(turn_id)) == 1


async def test_a_session_that_cannot_be_erased_holds_up_no_other(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    await history.publish()
    sessions = [await history.session() for _ in range(3)]
    for session_id in sessions:
        await history.answer(session_id)
    plain = RunLogs.erase
    stuck = await history.documents.turns.find_one({"workspace": WORKSPACE, "sessionId": sessions[0]})

    async def erase(self: RunLogs, workspace: str, turn_id: str) -> int:
        if turn_id == stuck["_id"]:
            raise RedisError("its shard is away")
        return await plain(self, workspace, turn_id)

    monkeypatch.setattr(RunLogs, "erase", erase)
    await history.documents.sessions.update_many(
        {"_id": {"$in": sessions}}, {"$set": {"status": "deleted", "erasing": True}}
    )

    async def left() -> list[int]:
        return [await history.count(sessionId=session_id) for session_id in sessions]

    async def only_the_stuck_one_is_left() -> bool:
        return await left() == [1, 0, 0]

    await eventually(only_the_stuck_one_is_left)
    monkeypatch.setattr(RunLogs, "erase", plain)

    async def none_is_left() -> bool:
        return await left() == [0, 0, 0]

    await eventually(none_is_left)
