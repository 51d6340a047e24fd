"""Outbox entries and turns that can never be processed: each is parked, its turn fails, and nothing waits for it."""

from typing import Any

import orjson
import pytest
from prometheus_client import REGISTRY

from services.history.turns.finalize import TurnFinalizer
from shared.outbox import OUTBOX, SCHEMA_VERSION
from shared.turn_queue.keys import DEAD_LETTERS
from tests.conftest import eventually
from tests.service.history.running import WORKSPACE, History, finished, message


def wire(turn_id: str, **members: Any) -> dict[str, Any]:
    return finished(turn_id, 1).wire() | members


# The entry's body, and the reason under which it is counted.
POISON: dict[str, tuple[Any, str]] = {
    "not JSON": (lambda turn_id: b"{", "unreadable"),
    "not UTF-8": (lambda turn_id: b'{"workspace": "\xff"}', "unreadable"),
    "empty": (lambda turn_id: b"", "unreadable"),
    "another schema": (lambda turn_id: orjson.dumps({"hello": turn_id}), "unreadable"),
    "an unknown status": (lambda turn_id: orjson.dumps(wire(turn_id, status="paused")), "unreadable"),
    "too large": (
        lambda turn_id: orjson.dumps(finished(turn_id, 1, "x" * 17_000_000).wire()),
        "unstorable",
    ),
    "a number beyond 64 bits": (
        lambda turn_id: orjson.dumps(wire(turn_id, usage={"promptTokens": 2**63, "totalTokens": 1})),
        "unstorable",
    ),
    "a NUL in a member's name": (
        lambda turn_id: orjson.dumps(wire(turn_id, status="failed", error={"a\0b": 1})),
        "unstorable",
    ),
}


def parked(reason: str) -> float:
    return REGISTRY.get_sample_value("parley_outbox_parked_total", {"reason": reason}) or 0.0


async def is_acknowledged(history: History) -> bool:
    return not await history.queue.xlen(OUTBOX)


async def fails(history: History, session_id: str, turn_id: str) -> None:
    """The turn is stored as failed, its stream ends with an error, and its session takes the next turn."""
    await history.wait_for_end(turn_id)
    await eventually(lambda: is_acknowledged(history), what="the empty outbox")
    stored = (await history.client.turn(WORKSPACE, turn_id)).turn
    assert stored.error is not None
    assert (stored.status, stored.error["code"], stored.attempt) == ("failed", "turn_failed", 2)
    frame_id, event, data = (await history.frames(turn_id))[-1]
    assert (str(frame_id), event, data["turnId"]) == ("2-1", "error", turn_id)
    assert (await history.admit(session_id, "The next one.")).created
    assert not await history.queue.exists("parley:turns:finished")


@pytest.mark.parametrize("kind", POISON)
async def test_a_poison_entry_is_parked_and_its_turn_fails(history: History, kind: str) -> None:
    body, reason = POISON[kind]
    await history.publish()
    session_id = await history.session()
    turn_id = (await history.admit(session_id)).turn.id
    await history.claim(turn_id)
    before = parked(reason)
    await history.queue.xadd(OUTBOX, {"turn": turn_id, "workspace": WORKSPACE, "v": 1, "body": body(turn_id)})
    await fails(history, session_id, turn_id)
    assert parked(reason) == before + 1
    letter = orjson.loads((await history.queue.lrange(DEAD_LETTERS, 0, 0))[0])  # type: ignore[misc]
    assert (letter["turnId"], letter["reason"]) == (turn_id, reason)


async def test_an_entry_of_an_unknown_schema_version_is_parked(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    turn_id = (await history.admit(session_id)).turn.id
    await history.claim(turn_id)
    body = orjson.dumps(finished(turn_id, 1).wire())
    fields: Any = {"turn": turn_id, "workspace": WORKSPACE, "v": SCHEMA_VERSION + 1, "body": body}
    await history.queue.xadd(OUTBOX, fields)
    await fails(history, session_id, turn_id)


async def test_the_entry_of_an_undecodable_job_ends_its_turn(history: History) -> None:
    """Its worker cannot tell the workspace, so the entry has none."""
    await history.publish()
    session_id = await history.session()
    turn_id = (await history.admit(session_id)).turn.id
    await history.claim(turn_id)
    await history.queue.xadd(OUTBOX, {"turn": turn_id, "workspace": "", "v": 1, "body": ""})
    await fails(history, session_id, turn_id)


async def test_a_result_that_fails_every_time_is_parked(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    await history.publish()
    session_id, other = await history.session(), await history.session()
    turn_id = (await history.admit(session_id)).turn.id
    await history.claim(turn_id)
    plain = TurnFinalizer.finish

    async def finish(self: TurnFinalizer, result: Any) -> None:
        if result.turn_id == turn_id:
            raise KeyError("a bug that only this result meets")
        await plain(self, result)

    monkeypatch.setattr(TurnFinalizer, "finish", finish)
    await history.queue.xadd(
        OUTBOX, {"turn": turn_id, "workspace": WORKSPACE, "body": orjson.dumps(finished(turn_id, 1).wire())}
    )
    await history.answer(other)
    await fails(history, session_id, turn_id)


async def test_a_log_of_another_type_does_not_keep_its_turn_active(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    turn_id = (await history.admit(session_id)).turn.id
    lease = await history.claim(turn_id)
    await history.queue.set(f"turn:{WORKSPACE}:{turn_id}", "not a stream")
    await lease.job.finish(finished(turn_id, 1))
    await eventually(lambda: is_acknowledged(history), within_s=20, what="the empty outbox")
    assert (await history.client.turn(WORKSPACE, turn_id)).turn.status == "completed"
    other = (await history.admit(session_id)).turn.id
    await history.claim(other)
    await history.queue.set(f"turn:{WORKSPACE}:{other}", "not a stream")
    await history.queue.xadd(OUTBOX, {"turn": other, "workspace": WORKSPACE, "body": b"{"})
    await eventually(lambda: is_acknowledged(history), within_s=20, what="the empty outbox")
    assert (await history.client.turn(WORKSPACE, other)).turn.status == "failed"


async def test_a_turn_whose_document_cannot_be_read_ends_and_holds_up_no_other(history: History) -> None:
    await history.publish()
    session_id, other = await history.session(), await history.session()
    turn_id = (await history.admit(session_id)).turn.id
    change: Any = {"$set": {"status": "unheard of"}}
    await history.documents.turns.update_one({"_id": turn_id}, change)
    waiting = (await history.admit(other)).turn.id  # Its job is lost: only the reconciler can enqueue it.

    async def enqueued() -> bool:
        return not await history.queue.missing([waiting])

    await history.wait_for_end(turn_id)
    await eventually(enqueued, what="the other turn's job")
    assert (await history.document(turn_id))["status"] == "failed"
    assert (await history.admit(session_id, "The next one.")).created


async def test_a_poison_result_for_an_unreadable_document_ends_the_turn_too(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    turn_id = (await history.admit(session_id)).turn.id
    await history.claim(turn_id)
    change: Any = {"$set": {"startedCalls": "not a list"}}
    await history.documents.turns.update_one({"_id": turn_id}, change)
    body = orjson.dumps(finished(turn_id, 1).wire())
    await history.queue.xadd(OUTBOX, {"turn": turn_id, "workspace": WORKSPACE, "body": body})
    await history.wait_for_end(turn_id)
    await eventually(lambda: is_acknowledged(history), what="the empty outbox")
    assert (await history.document(turn_id))["status"] == "failed"


async def test_a_turn_whose_partial_text_is_too_large_ends_without_it(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    turn_id = (await history.admit(session_id)).turn.id
    await history.claim(turn_id)
    await history.write(turn_id, 1, *("x" * 6_000_000 for _ in range(3)))
    await history.queue.xadd(OUTBOX, {"turn": turn_id, "workspace": WORKSPACE, "body": b"{"})
    await fails(history, session_id, turn_id)
    assert (await history.client.turn(WORKSPACE, turn_id)).output == ()


async def test_a_parked_entry_of_an_older_attempt_leaves_the_turn_to_the_newer_one(history: History) -> None:
    await history.publish()
    turn_id = (await history.admit(await history.session())).turn.id
    await history.claim(turn_id)
    second = await history.claim(turn_id)
    late = finished(turn_id, 1, output=(message("x" * 17_000_000, "assistant"),))
    await history.queue.xadd(OUTBOX, {"turn": turn_id, "workspace": WORKSPACE, "body": orjson.dumps(late.wire())})
    await eventually(lambda: is_acknowledged(history), what="the empty outbox")
    assert (await history.document(turn_id))["active"] is True
    await second.job.finish(finished(turn_id, 2, "Mine."))
    await history.wait_for_end(turn_id)
    assert [part.content for part in (await history.client.turn(WORKSPACE, turn_id)).output] == ["Mine."]
