"""What was erased from Redis is erased again later: a Redis that failed over may have it again."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.history.erasures import receipts
from services.history.metrics import RUN_LOGS_BACK
from shared.contracts.jobs import RunTurn
from shared.contracts.turns import CompletionRequest
from shared.run_log.keys import log_key
from tests.conftest import eventually
from tests.service.history.running import WORKSPACE, History, finished, order

PAST = datetime(2026, 1, 1, tzinfo=UTC)


async def deleted_session(history: History) -> str:
    """The turn of a session that was deleted."""
    await history.publish()
    session_id = await history.session()
    turn_id = await history.answer(session_id, "What is my balance?")
    await history.client.delete_session(WORKSPACE, session_id)
    assert not await history.queue.exists(log_key(WORKSPACE, turn_id))
    return turn_id


async def comes_back(history: History, turn_id: str) -> None:
    """As in a replica that lacks the erasure: no mark, the job and the log."""
    await history.queue.delete(f"erased:{log_key(WORKSPACE, turn_id)}", f"parley:turns:ended:{turn_id}")
    await history.write(turn_id, 1, "It is 4111.")


async def notes(history: History) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await history.documents.erased_logs.find({}).to_list(None)
    return found


async def fall_due(history: History) -> None:
    await history.documents.erased_logs.update_many({}, {"$set": {"dueAt": PAST}})


async def is_done(history: History) -> bool:
    return await notes(history) == []


async def test_a_run_log_that_came_back_after_its_erasure_is_erased_again(history: History) -> None:
    turn_id, counted = await deleted_session(history), RUN_LOGS_BACK._value.get()
    await comes_back(history, turn_id)
    await fall_due(history)
    await eventually(lambda: is_done(history), what="the second erasure")
    assert not await history.queue.exists(log_key(WORKSPACE, turn_id))
    assert await history.queue.exists(f"erased:{log_key(WORKSPACE, turn_id)}")
    assert RUN_LOGS_BACK._value.get() == counted + 1


async def test_the_second_erasure_comes_a_minute_after_the_first(history: History) -> None:
    turn_id, before = await deleted_session(history), datetime.now(UTC)
    (note,) = await notes(history)
    assert note["turns"] == [turn_id]
    assert abs(note["dueAt"] - before - timedelta(seconds=60)) < timedelta(seconds=30)
    assert note.keys() == {"_id", "schemaVersion", "workspace", "turns", "dueAt", "at"}


async def test_a_job_that_came_back_with_what_was_asked_is_removed_too(history: History) -> None:
    turn_id = await deleted_session(history)
    await comes_back(history, turn_id)
    job = RunTurn(WORKSPACE, turn_id, "agt_demo", 1)
    await history.dependencies.queue.enqueue(job, "What is my balance?")
    await fall_due(history)
    await eventually(lambda: is_done(history), what="the second erasure")
    values = [await history.queue.zscore("parley:turns", turn_id), await history.queue.get(f"arq:job:{turn_id}")]
    assert values == [None, None]


async def test_an_erasure_that_was_cut_off_has_its_note_and_a_repeat_makes_no_second_one(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    await history.publish()
    session_id = await history.session()
    turn_id = await history.answer(session_id)
    # It would complete the erasure at any moment.
    await history.dependencies.reconciler.loops.end()
    erasure, logs = history.dependencies.nouns.sessions, history.dependencies.logs
    plain, refused = logs.erase, list[str]()

    async def erase(workspace: str, turn_id: str) -> bool:
        if not refused:
            refused.append(turn_id)
            raise ConnectionError
        return await plain(workspace, turn_id)

    monkeypatch.setattr(logs, "erase", erase)
    with pytest.raises(ConnectionError):
        await erasure.erase(WORKSPACE, session_id)
    (first,) = await notes(history)
    await erasure.erase(WORKSPACE, session_id)
    (second,) = await notes(history)
    assert (first["_id"], first["turns"]) == (second["_id"], second["turns"]) == (second["_id"], [turn_id])
    assert second["dueAt"] >= first["dueAt"]


async def test_a_server_that_is_away_postpones_the_second_erasure_until_its_logs_have_expired(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    await deleted_session(history)

    async def refuse(workspace: str, turn_id: str) -> bool:
        raise ConnectionError

    monkeypatch.setattr(history.dependencies.logs, "erase", refuse)
    await fall_due(history)

    async def postponed() -> bool:
        return all(note["dueAt"] > datetime.now(UTC) for note in await notes(history))

    await eventually(postponed, what="the pause")
    assert len(await notes(history)) == 1
    await history.documents.erased_logs.update_many({}, {"$set": {"dueAt": PAST, "at": PAST}})
    await eventually(lambda: is_done(history), what="the end of the note")


async def test_stored_completions_and_the_turns_of_a_deleted_workspace_are_erased_again_too(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "STAYS_EMPTY_FOR", timedelta(0))
    await history.publish()
    await history.client.create_workspace(WORKSPACE)
    wanted = order(None, "Hello?", agent_id="agt_demo", completion=CompletionRequest(store=True))
    completion = (await history.client.admit(WORKSPACE, wanted)).turn.id
    lease = await history.claim(completion)
    await lease.job.finish(finished(completion, lease.claimed.attempt, "Hi."))
    await history.wait_for_end(completion)
    await history.client.delete_completion(WORKSPACE, completion)
    turn_id = await history.answer(await history.session())
    await history.client.delete_workspace(WORKSPACE)

    async def deleted() -> bool:
        return (await history.client.workspace(WORKSPACE)).status == "deleted"

    await eventually(deleted, within_s=20.0, what="the receipt")
    assert {each for note in await notes(history) for each in note["turns"]} == {completion, turn_id}
