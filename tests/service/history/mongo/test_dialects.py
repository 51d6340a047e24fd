"""The general queries: their results are those of the adapted ones, and a real MongoDB is sent what serves it best."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from itertools import product
from typing import Any
from uuid import uuid4

import pytest

from services.history.mongo.client import Database
from services.history.mongo.dialect import Dialect, Direction, IdField
from services.history.mongo.errors import Duplicate
from services.history.mongo.filters import one_of, up_to
from services.history.mongo.stand_in import StandInDialect, dialect_for
from services.history.sessions.search import PLACES
from services.history.turns.spoken_words import place_of
from shared.contracts.errors import ApiError
from shared.ids import id_at, new_id
from tests.conftest import eventually
from tests.service.history.conftest import is_ready
from tests.service.history.mongo.recorder import Recorder
from tests.service.history.mongo.shards import is_targeted
from tests.service.history.running import (
    WORKSPACE,
    History,
    completion,
    driver_of_tests,
    finished,
    running,
    settings_for,
)

NOW_MS = int(datetime.now(UTC).timestamp() * 1000)
DAY_MS = 86_400_000
DIRECTIONS: tuple[Direction, ...] = ("asc", "desc")
# From a year ago to a clock that runs an hour ahead.
TIMES_MS = [NOW_MS - 365 * DAY_MS, NOW_MS - 90 * DAY_MS, *(NOW_MS - n * 7_000 for n in range(9)), NOW_MS + DAY_MS // 24]


@asynccontextmanager
async def opened(uri: str, name: str, dialect: Dialect | None = None, recorder: Recorder | None = None) -> Any:
    listeners = [recorder] if recorder else []
    async with Database(uri, name, driver=driver_of_tests(), dialect=dialect, listeners=listeners) as database:

        async def answers() -> bool:
            try:
                await database.ping()
            except ApiError:
                return False
            return True

        await eventually(answers, within_s=20, what="a prepared database")
        yield database


async def filled(database: Database) -> list[str]:
    ids = [id_at("ses", time_ms + n) for n, time_ms in enumerate(TIMES_MS)]
    for n, session_id in enumerate(ids):
        await database.sessions.insert(
            {"_id": session_id, "workspace": WORKSPACE, "status": "active" if n % 3 else "ended"}
        )
    await database.sessions.insert({"_id": new_id("ses"), "workspace": "other", "status": "active"})
    return ids


async def pages(database: Database, direction: Direction, limit: int) -> list[list[str]]:
    where = {"workspace": WORKSPACE, "status": one_of(("active", "ended"))}
    found: list[list[str]] = []
    after: str | None = None
    while True:
        rows, after = await database.sessions.page(where, IdField("_id", "ses"), direction, after, limit)
        found.append([row["_id"] for row in rows])
        if after is None:
            return found


async def test_pages_are_the_same_in_both_forms(mongodb_uri: str) -> None:
    async with (
        opened(mongodb_uri, f"test_{uuid4().hex}", StandInDialect()) as adapted,
        opened(mongodb_uri, f"test_{uuid4().hex}", Dialect()) as general,
    ):
        ids = await filled(adapted)
        assert await filled(general) == ids
        for direction, limit in product(DIRECTIONS, (1, 5, 12, 50)):
            found = await pages(general, direction, limit)
            assert found == await pages(adapted, direction, limit), (direction, limit)
            assert [each for page in found for each in page] == sorted(ids, reverse=direction == "desc")


async def test_the_stand_in_reads_on_where_documents_are_left_out(mongodb_uri: str) -> None:
    """Members that must be absent are compared by history, behind the server's limit."""
    async with opened(mongodb_uri, f"test_{uuid4().hex}", StandInDialect()) as database:
        ids = [new_id("agt") for _ in range(12)] + ["agt_zz", "demo"]
        for number, agent_id in enumerate(ids):
            marks = {"deleted": True} if number % 3 else {}
            await database.agents.insert(
                {"_id": f"{WORKSPACE}:{agent_id}", "workspace": WORKSPACE, "agentId": agent_id, **marks}
            )
        for direction, limit in product(DIRECTIONS, (1, 3, 20)):
            wanted = sorted((one for number, one in enumerate(ids) if number % 3 == 0), reverse=direction == "desc")
            assert await kept_agents(database, direction, limit) == wanted, (direction, limit)


async def kept_agents(database: Database, direction: Direction, limit: int) -> list[str]:
    where = {"workspace": WORKSPACE, "deleted": None}
    found: list[str] = []
    after: str | None = None
    while True:
        rows, after = await database.agents.page(where, IdField("agentId", "agt"), direction, after, limit)
        found += [row["agentId"] for row in rows]
        if after is None:
            return found


@pytest.mark.parametrize("after", [False, True])
async def test_a_page_is_one_find_with_sort_and_limit(mongodb_uri: str, after: bool) -> None:
    recorder = Recorder()
    async with opened(mongodb_uri, f"test_{uuid4().hex}", Dialect(), recorder) as database:
        ids = await filled(database)
        recorder.commands.clear()
        where = {"workspace": WORKSPACE, "status": one_of(("active", "ended"))}
        begin = sorted(ids)[6] if after else None
        await database.sessions.page(where, IdField("_id", "ses"), "desc", begin, 3, {"status": 1})
        await database.turns.page({"workspace": WORKSPACE}, IdField("storedId", "trn"), "asc", None, 3)
    sessions, turns = (command for _, command in recorder.commands)
    beyond = {"_id": {"$lt": begin}} if after else {}
    assert sessions["filter"] == {"workspace": {"$eq": WORKSPACE}, "status": {"$in": ["active", "ended"]}, **beyond}
    assert (sessions["sort"], sessions["limit"]) == ({"_id": -1}, 4)
    assert sessions["projection"] == {"status": 1, "schemaVersion": 1}
    # A partial index serves only a query that asks for its member.
    assert turns["filter"] == {"workspace": {"$eq": WORKSPACE}, "storedId": {"$exists": True}}
    assert (turns["sort"], turns["limit"]) == ({"storedId": 1}, 4)


async def test_a_search_is_a_find_by_one_word_in_the_order_of_sessions(mongodb_uri: str) -> None:
    recorder = Recorder()
    async with opened(mongodb_uri, f"test_{uuid4().hex}", Dialect(), recorder) as database:
        ids = await filled(database)
        for session_id in ids:
            place, words = place_of(session_id, 1), ["word"]
            turn = {"_id": new_id("trn"), "workspace": WORKSPACE, "sessionId": session_id, "n": 1}
            await database.turns.insert({**turn, "place": place, "words": words})
        recorder.commands.clear()
        where = {"workspace": WORKSPACE, "words": "word"}
        rows, following = await database.turns.page(where, PLACES, "desc", ids[-1], 2, {"place": 1})
    command = recorder.commands[0][1]
    assert command["filter"] == {
        "workspace": {"$eq": WORKSPACE},
        "words": {"$eq": "word"},
        "place": {"$lt": ids[-1]},
    }
    assert (command["sort"], command["limit"]) == ({"place": -1}, 3)
    expected = [place_of(session_id, 1) for session_id in sorted(ids)[:-1][::-1][:2]]
    assert [row["place"] for row in rows] == expected
    assert following == expected[-1]


async def test_single_reads_and_writes_name_every_member(mongodb_uri: str) -> None:
    recorder = Recorder()
    async with opened(mongodb_uri, f"test_{uuid4().hex}", Dialect(), recorder) as database:
        (session_id, *_) = await filled(database)
        where = {"_id": session_id, "workspace": WORKSPACE}
        recorder.commands.clear()
        assert await database.sessions.one(where, {"status": 1}) is not None
        assert await database.sessions.one({**where, "workspace": "other"}) is None
        assert await database.sessions.update(where, {"$set": {"status": "ended"}})
        assert await database.sessions.delete(where)
    find, other, update, delete = (command for _, command in recorder.commands)
    assert find["filter"] == {"_id": {"$eq": session_id}, "workspace": {"$eq": WORKSPACE}}
    assert (find["limit"], find["singleBatch"]) == (1, True)
    assert other["filter"]["workspace"] == {"$eq": "other"}
    assert update["updates"][0]["q"] == find["filter"]
    assert delete["deletes"][0]["q"] == find["filter"]


async def test_writes_are_majority_journaled_and_repeated_by_the_driver(mongodb_uri: str) -> None:
    """Unless the address says otherwise."""
    recorder, retrying = Recorder(), mongodb_uri.replace("&retryWrites=false", "")
    async with opened(retrying, f"test_{uuid4().hex}", Dialect(), recorder) as database:
        recorder.commands.clear()
        await database.sessions.insert({"_id": "ses_1", "workspace": WORKSPACE})
        await database.sessions.update({"_id": "ses_1"}, {"$set": {"status": "ended"}})
        await database.sessions.one({"_id": "ses_1"})
    insert, update, find = (command for _, command in recorder.commands)
    for write in (insert, update):
        assert write["writeConcern"] == {"w": "majority", "j": True}
        assert "txnNumber" in write
    assert find["readConcern"]["level"] == "majority"


async def test_partial_indexes_have_the_general_form_and_still_hold(mongodb_uri: str) -> None:
    recorder = Recorder()
    async with opened(mongodb_uri, f"test_{uuid4().hex}", Dialect(), recorder) as database:
        (created,) = recorder.of("turns", "createIndexes")
        forms = {index["name"]: index.get("partialFilterExpression") for index in created["indexes"]}
        assert forms["one_active_turn_per_session"] == {"active": True, "sessionId": {"$exists": True}}
        assert forms["idempotency_key"] == {"idempotencyKey": {"$exists": True}}
        active = {"workspace": WORKSPACE, "sessionId": "ses_1", "active": True}
        await database.turns.insert({"_id": "trn_1", "n": 1, **active})
        with pytest.raises(Duplicate):
            await database.turns.insert({"_id": "trn_2", "n": 2, **active})
        await database.turns.insert({"_id": "trn_3", "workspace": WORKSPACE, "active": True})
        await database.turns.insert({"_id": "trn_4", "workspace": WORKSPACE, "active": True})


def test_the_form_is_chosen_by_what_the_server_says_of_itself() -> None:
    assert type(dialect_for({"version": "8.0.4", "gitVersion": "x", "modules": []})) is Dialect
    assert type(dialect_for({"version": "8.2.11", "secantusVersion": "0.7.0b3"})) is StandInDialect


@pytest.fixture
async def general(
    mongodb_uri: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[History, Recorder]]:
    """A whole history that speaks to its database as to a real MongoDB."""
    recorder = Recorder()
    monkeypatch.setattr("services.history.app.Database", partial(Database, dialect=Dialect(), listeners=[recorder]))
    async with running(settings_for(mongodb_uri, redis_url, reconcile_interval_s=60.0)) as history:
        await eventually(lambda: is_ready(history), within_s=20.0, what="a ready history")
        yield history, recorder


async def test_history_works_with_the_general_queries(general: tuple[History, Recorder]) -> None:
    history, _ = general
    await history.publish()
    sessions = [await history.session() for _ in range(3)]
    await history.answer(sessions[0], "One?", "One.")
    turn_id = await history.answer(sessions[0], "Two?", "Two.")
    shown = await history.client.messages(WORKSPACE, sessions[0], {})
    assert [item["content"] for item in shown["items"]] == ["One?", "One.", "Two?", "Two."]
    assert (await history.client.turn(WORKSPACE, turn_id)).turn.status == "completed"
    listed = await history.client.sessions(WORKSPACE, {"limit": "2"})
    assert [item["id"] for item in listed["items"]] == sessions[:0:-1]
    first = await history.client.admit(WORKSPACE, completion(idempotency_key="k", store=True))
    again = await history.client.admit(WORKSPACE, completion(idempotency_key="k", store=True))
    assert (again.created, again.turn.id) == (False, first.turn.id)
    lease = await history.claim(first.turn.id)
    await lease.job.finish(finished(first.turn.id, 1))
    await history.wait_for_end(first.turn.id)
    stored = await history.client.completions(WORKSPACE, [])
    assert [item["turn"]["id"] for item in stored["items"]] == [first.turn.id]
    assert [agent.id for agent in (await history.client.published_agents(WORKSPACE))[0]] == ["agt_demo"]
    await history.client.delete_session(WORKSPACE, sessions[0])
    assert await history.count(sessionId=sessions[0]) == 0


async def test_a_turn_costs_six_commands(general: tuple[History, Recorder]) -> None:
    """Two to admit it, one to start its attempt by the snapshot, three to store its end. One shard gets each."""
    history, recorder = general
    await history.publish()
    session_id = await history.session()
    first = await history.answer(session_id)  # The version and the context are cached from here on.
    await eventually(lambda: len(updates(recorder, first)) >= 2, what="its start and its end")
    recorder.commands.clear()
    admitted = await history.admit(session_id)
    assert admitted.snapshot is not None
    turn_id = admitted.turn.id
    assert [name for name, _ in about(recorder, session_id, turn_id)] == ["find", "insert"]
    job = await history.lease(turn_id)
    assert await history.begin(turn_id, job.claim_id, 1, session_id=session_id, admitted_at=admitted.turn.created_at)
    assert [name for name, _ in about(recorder, session_id, turn_id)[2:]] == ["update"]
    await asyncio.gather(job.finish(finished(turn_id, 1)), history.wait_for_end(turn_id))
    await eventually(lambda: len(about(recorder, session_id, turn_id)) >= 6, what="the last, which follows the end")
    assert [name for name, _ in about(recorder, session_id, turn_id)[3:]] == ["find", "update", "update"]
    assert not [command for name, command in about(recorder, session_id, turn_id) if not is_targeted(name, command)]


def updates(recorder: Recorder, turn_id: str) -> list[Mapping[str, Any]]:
    return [command for command in recorder.of("turns", "update") if turn_id in str(command["updates"])]


def about(recorder: Recorder, *ids: str) -> list[tuple[str, Mapping[str, Any]]]:
    """The commands that name one of the ids, but for those of the usage ledger: loops ask for much else meanwhile."""
    return [
        (name, command)
        for name, command in recorder.commands
        if command[name] in ("turns", "sessions")
        and any(each in str(command) for each in ids)
        and "unbilled" not in str([each["q"] for each in command.get("updates", ())])
    ]


@pytest.mark.parametrize("dialect", [Dialect(), StandInDialect()], ids=["general", "stand-in"])
async def test_a_write_by_id_compares_the_other_members_too(mongodb_uri: str, dialect: Dialect) -> None:
    """The fences of turns: none of these may be passed over."""
    async with opened(mongodb_uri, f"test_{uuid4().hex}", dialect) as database:
        turns, turn_id = database.turns, new_id("trn")
        row = {"_id": turn_id, "workspace": WORKSPACE, "active": True, "attempt": 1, "joined": False, "replaces": None}
        await turns.insert(row)
        holds: list[dict[str, Any]] = [
            {"workspace": WORKSPACE},
            {"active": True, "attempt": 1},
            {"joined": False},
            {"replaces": None},
            {"absent": None},
            {"attempt": one_of((0, 1))},
            {"workspace": one_of(("other", WORKSPACE)), "active": True, "attempt": up_to(1)},
        ]
        fails: list[dict[str, Any]] = [
            {"workspace": "other"},
            {"active": False},
            {"active": True, "attempt": 2},
            {"attempt": 0},
            {"joined": True},
            {"joined": None},
            {"absent": "something"},
            {"absent": False},
            {"attempt": one_of((2, 3))},
            {"absent": one_of((1, 2))},
            {"attempt": up_to(0)},
        ]
        for where in holds:
            assert await turns.update({"_id": turn_id, **where}, {"$set": {"seen": new_id("trn")}}), where
            assert [one["_id"] for one in await turns.many({"_id": turn_id, **where})] == [turn_id], where
        for where in fails:
            assert not await turns.update({"_id": turn_id, **where}, {"$set": {"seen": new_id("trn")}}), where
            assert not await turns.delete({"_id": turn_id, **where}), where
            assert await turns.many({"_id": turn_id, **where}) == [], where
        assert await turns.delete({"_id": turn_id, **holds[1]})
