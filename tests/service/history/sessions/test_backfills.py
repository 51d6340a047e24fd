"""Documents of earlier releases get what new ones have, whoever dies in between."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from services.history.mongo import backfill
from services.history.mongo.backfill import Backfill
from services.history.sessions.backfills import searched_turns, session_labels
from services.history.sessions.sessions import SESSION_IDS
from services.history.sessions.transcript_words import TranscriptWords
from shared.contracts.errors import ApiError, Code
from shared.ids import id_at
from tests.conftest import eventually
from tests.service.history.running import WORKSPACE, History, message
from tests.service.history.sessions.test_search import found
from tests.service.history.sessions.test_session_filters import label, listed

OLD_MS = 1_767_225_600_000  # 2026-01-01
DAY_MS = 86_400_000


def session(number: int, **members: Any) -> dict[str, Any]:
    return {
        "_id": id_at("ses", OLD_MS + number * DAY_MS),
        "workspace": WORKSPACE,
        "agentId": "agt_demo",
        "agentVersion": 1,
        "status": "active",
        "metadata": orjson.dumps({"plan": "pro"}).decode(),
        "turnCount": 1,
        "createdAt": datetime.now(UTC),
    } | members


def turn(number: int, **members: Any) -> dict[str, Any]:
    return {
        "_id": id_at("trn", OLD_MS + number * DAY_MS),
        "workspace": WORKSPACE,
        "sessionId": id_at("ses", OLD_MS + number * DAY_MS),
        "n": 1,
        "status": "completed",
        "active": False,
        "agentId": "agt_demo",
        "agentVersion": 1,
        "input": [message(f"Question {number}").wire()],
        "output": [message("An answer", "assistant").wire()],
        "createdAt": datetime.now(UTC),
    } | members


async def began_anew(history: History) -> None:
    """The history of the test has found an empty database, and has nothing to do any more."""

    async def is_done() -> bool:
        return len(await history.documents.backfills.find({"done": True}).to_list(None)) == 3

    await eventually(is_done, what="walks through nothing")
    await history.documents.backfills.delete_many({})


async def position(history: History, name: str) -> dict[str, Any]:
    row: dict[str, Any] = await history.documents.backfills.find_one({"_id": name})
    return row


async def test_sessions_made_before_the_filter_are_found_by_their_metadata(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "PAGE", 3)
    await began_anew(history)
    sessions = [session(number) for number in range(8)]
    bare, erased = session(9, metadata="{}"), session(10, status="deleted")
    del erased["metadata"]
    await history.documents.sessions.insert_many([*sessions, bare, erased])
    assert await listed(history, label("plan", "pro")) == []
    await session_labels(history.dependencies.database).reconcile()
    assert await listed(history, label("plan", "pro")) == [row["_id"] for row in sessions[::-1]]
    for row in (bare, erased):
        assert "labels" not in await history.documents.sessions.find_one({"_id": row["_id"]})


async def test_turns_that_ended_before_the_search_are_found(history: History) -> None:
    await began_anew(history)
    numbers = range(5)
    await history.documents.sessions.insert_many([session(number) for number in numbers])
    check = turn(6, check="chk_1")
    completion = turn(7)
    del completion["sessionId"], completion["n"]
    await history.documents.turns.insert_many([*(turn(number) for number in numbers), check, completion])
    await searched_turns(history.dependencies.database).reconcile()
    await TranscriptWords(history.dependencies.database).reconcile()
    assert await found(history, "question 3") == [session(3)["_id"]]
    assert len(await found(history, "answer")) == len(numbers)
    for row in (check, completion):
        assert not {"words", "unindexed"} & (await history.document(row["_id"])).keys()


async def test_a_document_that_cannot_be_read_holds_up_no_other(history: History) -> None:
    await began_anew(history)
    await history.documents.sessions.insert_many([session(0, metadata="no JSON"), session(1), session(2)])
    await history.documents.turns.insert_many([turn(0, input=["no message"]), turn(1), turn(2)])
    await session_labels(history.dependencies.database).reconcile()
    await searched_turns(history.dependencies.database).reconcile()
    await TranscriptWords(history.dependencies.database).reconcile()
    assert await listed(history, label("plan", "pro")) == [session(2)["_id"], session(1)["_id"]]
    assert await found(history, "answer") == [session(2)["_id"], session(1)["_id"]]
    assert not {"words", "unindexed"} & (await history.document(turn(0)["_id"])).keys()


async def test_a_walk_goes_on_where_another_process_has_died(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left out, and only the page under way is visited twice."""
    monkeypatch.setattr(backfill, "PAGE", 2)
    await began_anew(history)
    database = history.dependencies.database
    ids = [session(number)["_id"] for number in range(7)]
    await history.documents.sessions.insert_many([session(number) for number in range(7)])
    visited: list[str] = []

    async def visit(row: dict[str, Any]) -> bool:
        if len(visited) == 5:
            raise ApiError(Code.DEPENDENCY_UNAVAILABLE)
        visited.append(row["_id"])
        return True

    def walk() -> Backfill:
        return Backfill(database, "a_walk", database.sessions, SESSION_IDS, {"_id": 1}, visit)

    monkeypatch.setattr(backfill, "CONCURRENCY", 1)
    with pytest.raises(ApiError):
        await walk().reconcile()
    assert (await position(history, "a_walk"))["after"] == ids[3]
    del visited[:]
    await walk().reconcile()
    assert visited == ids[4:]


async def test_a_walk_ends_an_hour_after_its_beginning(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """A history of the release before may write for a while beside this one."""
    await began_anew(history)
    await history.documents.sessions.insert_one(session(1))
    walk = session_labels(history.dependencies.database)
    await walk.reconcile()
    assert not (await position(history, "session_labels"))["done"]
    await history.documents.sessions.insert_one(session(2))
    past = OLD_MS + 100 * DAY_MS
    await history.documents.backfills.update_one({"_id": "session_labels"}, {"$set": {"untilMs": past}})
    monkeypatch.setattr(walk, "_idle_until", 0.0)
    await walk.reconcile()
    assert (await position(history, "session_labels"))["done"]
    assert len(await listed(history, label("plan", "pro"))) == 2
    # It is done for the processes that start from now on.
    await history.documents.sessions.insert_one(session(3))
    await session_labels(history.dependencies.database).reconcile()
    assert len(await listed(history, label("plan", "pro"))) == 2
