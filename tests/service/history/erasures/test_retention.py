"""Transcripts are erased when their agent's or their workspace's time is over; what they used stays."""

from datetime import UTC, datetime, timedelta

import pytest

from services.history.app import Dependencies
from shared.contracts.agents import Retention
from shared.contracts.errors import ApiError, Code
from shared.contracts.workspaces import ChangeWorkspace
from shared.ids import id_at
from tests.service.history.erasures.remains import remains
from tests.service.history.running import WORKSPACE, History, completion, finished

OLD = datetime.now(UTC) - timedelta(days=31)
LIMITS = [(None, 30, False), (60, 30, False), (30, 60, False), (60, 60, True)]


async def aged(history: History, session_id: str) -> None:
    for member in ("lastMessageAt", "emptySince"):
        where = {"_id": session_id, member: {"$exists": True}}
        await history.documents.sessions.update_one(where, {"$set": {member: OLD}})


async def apply(dependencies: Dependencies) -> None:
    retention = dependencies.nouns.retention
    retention._due, retention._after = 0.0, ""
    while not retention._due:
        await retention.reconcile()


async def is_there(history: History, session_id: str) -> bool:
    try:
        await history.client.session(WORKSPACE, session_id)
    except ApiError as error:
        return error.code is not Code.SESSION_NOT_FOUND
    return True


async def test_a_session_goes_so_many_days_after_its_last_message(history: History) -> None:
    await history.publish(retention=Retention(transcript_days=30))
    old, recent, empty, running = [await history.session() for _ in range(4)]
    turn_id = await history.answer(old, "an old canary")
    await history.answer(recent)
    await history.answer(running)
    await history.admit(running)
    for session_id in (old, empty, running):
        await aged(history, session_id)
    await apply(history.dependencies)
    assert [await is_there(history, each) for each in (old, recent, empty, running)] == [False, True, False, True]
    assert await remains(history, "canary") == []
    assert (await history.document(turn_id))["usage"]["totalTokens"] == 5


async def test_without_a_limit_transcripts_stay(history: History) -> None:
    await history.publish()
    session_id = await history.session()
    await history.answer(session_id)
    await aged(history, session_id)
    await apply(history.dependencies)
    assert await is_there(history, session_id)


@pytest.mark.parametrize(("agents", "workspaces", "stays"), LIMITS)
async def test_the_shorter_limit_counts(history: History, agents: int | None, workspaces: int, stays: bool) -> None:
    await history.client.create_workspace(WORKSPACE)
    changed = await history.client.change_workspace(WORKSPACE, ChangeWorkspace(transcript_days=workspaces))
    assert changed.transcript_days == workspaces
    await history.publish(retention=Retention(transcript_days=agents))
    session_id = await history.session()
    await history.answer(session_id)
    await aged(history, session_id)
    await apply(history.dependencies)
    assert await is_there(history, session_id) is stays


async def test_a_workspaces_limit_is_taken_back_and_both_are_in_the_audit(history: History) -> None:
    await history.client.create_workspace(WORKSPACE)
    await history.client.change_workspace(WORKSPACE, ChangeWorkspace(transcript_days=7))
    assert (await history.client.change_workspace(WORKSPACE, ChangeWorkspace())).transcript_days is None
    page = await history.client.audit(WORKSPACE, {"limit": "10"})
    assert [row["action"] for row in page["items"]] == ["workspace.retention_changed"] * 2
    with pytest.raises(ApiError):
        await history.client.change_workspace("nobody", ChangeWorkspace(transcript_days=7))


async def test_stored_completions_have_their_time_too(history: History) -> None:
    await history.publish(retention=Retention(transcript_days=30))
    old_id = id_at("trn", int(OLD.timestamp() * 1000))
    orders = [completion("canary", store=True, turn_id=old_id), completion("new", store=True)]
    for each in orders:
        admitted = await history.client.admit(WORKSPACE, each)
        await history.dependencies.finalizer.finish(finished(admitted.turn.id, 0))
    await apply(history.dependencies)
    assert await remains(history, "canary") == []
    assert (await history.client.turn(WORKSPACE, orders[1].turn_id)).input[0].content == "new"
