"""What a turn's tools do to its session takes effect at the turn's end, once, and only for the attempt that counts."""

from typing import Any

import pytest

from shared.contracts.errors import ApiError, Code
from shared.contracts.sessions import Session
from tests.service.history.running import WORKSPACE, History, finished

FORM: dict[str, Any] = {"email": "a@b.example", "$where": "1", "a.b": {"c": None}, "n": 2**63, "": "\x00"}


@pytest.fixture
async def session_id(history: History) -> str:
    await history.publish()
    return await history.session()


async def session(history: History, session_id: str) -> Session:
    return await history.client.session(WORKSPACE, session_id)


async def end_turn(history: History, session_id: str, **effects: Any) -> tuple[str, Any]:
    turn_id = (await history.admit(session_id)).turn.id
    lease = await history.claim(turn_id)
    result = finished(turn_id, lease.claimed.attempt, **effects)
    assert await lease.job.finish(result)
    await history.wait_for_end(turn_id)
    return turn_id, result


async def test_a_form_that_was_filled_in_stands_on_the_session(history: History, session_id: str) -> None:
    assert (await session(history, session_id)).collected is None
    await end_turn(history, session_id, collected={"lead": FORM, "order": {"id": 1}})
    await end_turn(history, session_id, collected={"order": {"id": 2}})
    assert (await session(history, session_id)).collected == {"lead": FORM, "order": {"id": 2}}


async def test_a_redelivered_result_does_not_undo_a_later_turns_form(history: History, session_id: str) -> None:
    _, first = await end_turn(history, session_id, collected={"lead": {"email": "old"}})
    await end_turn(history, session_id, collected={"lead": {"email": "new"}})
    await history.dependencies.finalizer.finish(first)
    assert (await session(history, session_id)).collected == {"lead": {"email": "new"}}


async def test_an_attempt_that_was_superseded_changes_nothing(history: History, session_id: str) -> None:
    turn_id = (await history.admit(session_id)).turn.id
    lease = await history.claim(turn_id)
    stale = finished(turn_id, lease.claimed.attempt, collected={"lead": FORM}, end_session=True)
    await history.client.cancel(WORKSPACE, turn_id)
    await history.lapse(turn_id)
    await history.wait_for_end(turn_id)
    await history.dependencies.finalizer.finish(stale)
    found = await session(history, session_id)
    assert (found.collected, found.status) == (None, "active")


async def test_an_agent_ends_its_session_with_the_turn(history: History, session_id: str) -> None:
    turn_id, result = await end_turn(history, session_id, end_session=True)
    found = await session(history, session_id)
    assert (found.status, found.ended_reason) == ("ended", "agent")
    assert (await history.client.turn(WORKSPACE, turn_id)).turn.status == "completed", (
        "the end does not cancel the turn"
    )
    with pytest.raises(ApiError) as refused:
        await history.admit(session_id)
    assert refused.value.code is Code.SESSION_ENDED
    await history.dependencies.finalizer.finish(result)
    assert await session(history, session_id) == found


@pytest.mark.parametrize("status", ["failed", "cancelled"])
async def test_a_turn_that_did_not_complete_ends_no_session(history: History, session_id: str, status: str) -> None:
    await end_turn(history, session_id, end_session=True, status=status)
    assert (await session(history, session_id)).status == "active"


async def test_an_erased_session_keeps_no_form(history: History, session_id: str) -> None:
    await end_turn(history, session_id, collected={"lead": FORM})
    await history.client.delete_session(WORKSPACE, session_id)
    document = await history.documents.sessions.find_one({"_id": session_id})
    assert "a@b.example" not in str(document)
