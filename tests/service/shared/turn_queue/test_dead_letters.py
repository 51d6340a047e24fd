"""A job that no worker can decode ends its turn, and no worker."""

from collections.abc import Awaitable
from typing import cast

import orjson
import pytest

from shared.contracts.jobs import SCHEMA_VERSION, RunTurn
from shared.outbox import OUTBOX, OutboxEntry, UnreadableEntry
from shared.turn_queue import dead_letters
from shared.turn_queue.job import LeasedJob
from shared.turn_queue.keys import DEAD_LETTERS, QUEUE
from shared.turn_queue.queue import TurnQueue
from tests.conftest import eventually
from tests.service.shared.turn_queue.rig import a_turn, result_of, running_worker


def job(positional: list[object], named: dict[str, object], function: str = "run_turn") -> bytes:
    return orjson.dumps({"t": None, "f": function, "a": positional, "k": named, "et": 1})


A_TURN = RunTurn("ws", "trn_bad", "agt", 1)
UNDECODABLE = {
    "a fifth positional member": job(["ws", "trn_bad", "agt", 1, "fifth"], {}),
    "no members": job([], {}),
    "a missing member": job([], {"workspace": "ws", "turn_id": "trn_bad"}),
    "a member of another type": job([], {**A_TURN.members(), "agent_version": "one"}),
    "a later schema": job([], {**A_TURN.members(), "schema_version": SCHEMA_VERSION + 1}),
    "another function": job([], {**A_TURN.members()}, "run_other"),
    "another turn's id": job([], {**A_TURN.members(), "turn_id": "trn_other"}),
    "members of another form": orjson.dumps({"t": None, "f": "run_turn", "a": {}, "k": [], "et": 1}),
    "not a job of arq": b"[]",
    "no JSON": b"\x80\x04pickled",
    "nothing": b"",
}


async def put(queue: TurnQueue, turn_id: str, payload: bytes) -> None:
    await queue.set(f"arq:job:{turn_id}", payload)
    await queue.zadd(QUEUE, {turn_id: 1})


async def letters(queue: TurnQueue) -> list[dict[str, object]]:
    return [orjson.loads(each) for each in await cast("Awaitable[list[bytes]]", queue.lrange(DEAD_LETTERS, 0, -1))]


@pytest.mark.parametrize("payload", UNDECODABLE.values(), ids=UNDECODABLE.keys())
async def test_an_undecodable_job_becomes_a_dead_letter_and_the_next_job_runs(
    queue: TurnQueue, redis_url: str, payload: bytes
) -> None:
    good, ran = a_turn(), list[str]()

    async def run(leased: LeasedJob) -> None:
        ran.append(leased.job.turn_id)
        await leased.finish(result_of(leased.job))

    counted = dead_letters.UNDECODABLE_JOBS._value.get()
    await put(queue, "trn_bad", payload)
    async with running_worker(redis_url, run):
        await queue.enqueue(good)
        await eventually(lambda: ran)
        await eventually(lambda: _length_is(queue, 2))
    assert ran == [good.turn_id]
    (letter,) = await letters(queue)
    assert letter["turnId"] == "trn_bad"
    assert letter["reason"]
    assert dead_letters.UNDECODABLE_JOBS._value.get() == counted + 1
    entries = [OutboxEntry.of(fields) for _, fields in await queue.xrange(OUTBOX)]
    bad = next(entry for entry in entries if entry.turn_id == "trn_bad")
    with pytest.raises(UnreadableEntry):
        bad.finished_turn()
    assert await queue.holder("trn_bad") is None
    assert await queue.exists("arq:job:trn_bad") == 0


async def _length_is(queue: TurnQueue, length: int) -> bool:
    return bool(await queue.xlen(OUTBOX) == length)


async def test_the_dead_letters_are_bounded(queue: TurnQueue, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "KEPT", 3)

    async def run(leased: LeasedJob) -> None: ...

    for number in range(6):
        await put(queue, f"trn_{number}", b"no job")
    async with running_worker(redis_url, run):
        await eventually(lambda: _length_is(queue, 6))
    assert len(await letters(queue)) == 3


async def test_a_positional_job_of_an_older_version_runs(queue: TurnQueue, redis_url: str) -> None:
    ran = list[RunTurn]()

    async def run(leased: LeasedJob) -> None:
        ran.append(leased.job)
        await leased.finish(result_of(leased.job))

    await put(queue, "trn_old", job(["ws", "trn_old", "agt", 7], {}))
    async with running_worker(redis_url, run):
        await eventually(lambda: ran)
    assert ran == [RunTurn("ws", "trn_old", "agt", 7)]
