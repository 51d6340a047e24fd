"""`parley migrate`: every document gets its newest form, whatever happens meanwhile; and two releases side by side."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from services.history.mongo import migrations
from services.history.mongo.client import Database
from services.history.mongo.rewriting import Rewriting
from tests.service.history.mongo.test_dialects import opened
from tests.service.history.running import WORKSPACE, History, finished

COUNT = 120


def with_title(document: dict[str, Any]) -> dict[str, Any]:
    """A step as a later release might have it: `name` is called `title`, and a member has another form."""
    return {("title" if name == "name" else name): value for name, value in document.items()} | {"parts": [{"n": 1}]}


@pytest.fixture
async def database(mongodb_uri: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """Sessions of three ages: without a version, of version 1, and of a release that is newer than this one."""
    async with opened(mongodb_uri, f"test_{uuid4().hex}") as found:
        rows = [{"_id": f"ses_{n:04}", "workspace": WORKSPACE, "name": f"Old {n}"} for n in range(COUNT)]
        await found.sessions.insert_as_is([row | ({"schemaVersion": 1} if n % 2 else {}) for n, row in enumerate(rows)])
        await found.sessions.insert_as_is([{"_id": "ses_new", "workspace": WORKSPACE, "schemaVersion": 9, "name": "N"}])
        monkeypatch.setitem(migrations.STEPS, "sessions", (*migrations.STEPS["sessions"], with_title))
        yield found


async def stored(database: Database) -> list[dict[str, Any]]:
    return [row async for rows in database.sessions.scan() for row in rows]


async def test_every_older_document_is_rewritten_and_a_newer_one_is_left(database: Database) -> None:
    said: list[tuple[str, int]] = []
    rewriting = Rewriting(database, lambda name, count: said.append((name, count)))
    assert (await rewriting.left())["sessions"] == COUNT
    assert (await rewriting.run())["sessions"] == COUNT
    *old, new = await stored(database)
    assert {(row["schemaVersion"], row["title"], row["parts"][0]["n"]) for row in old} == {
        (2, f"Old {n}", 1) for n in range(COUNT)
    }
    assert not [row for row in old if "name" in row]
    assert new == {"_id": "ses_new", "workspace": WORKSPACE, "schemaVersion": 9, "name": "N"}
    assert sum((await rewriting.left()).values()) == sum((await rewriting.run()).values()) == 0
    assert ("sessions", COUNT + 1) in said
    assert not await database.backfills.many({}, limit=1)


async def test_a_walk_that_was_cut_off_goes_on_behind_its_last_batch(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Exception):
        pass

    rewrite, done = database.sessions.rewrite, 0

    async def failing(before: Any, after: Any) -> bool:
        nonlocal done
        done += 1
        if done > 110:
            raise Killed
        return await rewrite(before, after)

    with monkeypatch.context() as patch:
        patch.setattr(database.sessions, "rewrite", failing)
        with pytest.raises(Killed):
            await Rewriting(database).run()
    (position,) = await database.backfills.many({}, limit=2)
    assert position["after"] == "ses_0099"
    assert 0 < (await Rewriting(database).run())["sessions"] < COUNT
    assert (await Rewriting(database).left())["sessions"] == 0


async def test_a_document_that_is_changed_meanwhile_loses_no_change(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process writes between the walk's read and its write: once a member that the step changes, once another."""
    rewrite = database.sessions.rewrite

    async def beside(before: dict[str, Any], after: dict[str, Any]) -> bool:
        if before["name"].startswith("Old"):
            await database.sessions.update({"_id": before["_id"]}, {"$set": {"name": "Newer", "turnCount": 7}})
        return await rewrite(before, after)

    monkeypatch.setattr(database.sessions, "rewrite", beside)
    await Rewriting(database).run()
    *old, _ = await stored(database)
    assert {(row["title"], row["turnCount"], row["schemaVersion"]) for row in old} == {("Newer", 7, 2)}


async def test_several_walks_side_by_side_do_each_document_once(database: Database) -> None:
    counts = await asyncio.gather(*(Rewriting(database).run() for _ in range(3)))
    assert sum(count["sessions"] for count in counts) == COUNT


async def test_documents_of_a_newer_release_pass_through_this_one_unharmed(history: History) -> None:
    """Two releases at once: this one works on what the other has written, and keeps what it does not know."""
    await history.publish()
    session_id = await history.session()
    turn = (await history.admit(session_id)).turn
    newer: dict[str, Any] = {"schemaVersion": 7, "mood": {"of": ["a", "later", "release"]}}
    names = {"sessions": session_id, "turns": turn.id, "agents": f"{WORKSPACE}:agt_demo"}
    for collection, document_id in names.items():
        await history.documents[collection].update_one({"_id": document_id}, {"$set": newer})
    lease = await history.claim(turn.id)
    assert await lease.job.finish(finished(turn.id, lease.claimed.attempt))
    await history.wait_for_end(turn.id)
    assert await history.publish(instructions="Be longer.") == 2
    assert (await history.client.session(WORKSPACE, session_id)).turn_count == 1
    for collection, document_id in names.items():
        row = await history.documents[collection].find_one({"_id": document_id})
        assert {name: row[name] for name in newer} == newer, collection
