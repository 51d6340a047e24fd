"""What is written while a backup is made: a restored stack counts, erases and answers as if it had been killed then."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from services.history.backups import erasure_watch
from services.history.backups.backup import Backup
from services.history.backups.faults import BackupFault
from services.history.erasures import receipts
from services.history.mongo.filters import Document
from shared.contracts.end_users import EraseEndUser
from shared.contracts.sessions import EndUser
from shared.ids import new_id
from tests.conftest import eventually
from tests.service.history.backups.rig import is_billed, restored, stores
from tests.service.history.conftest import history, is_ready
from tests.service.history.knowledge.conftest import ingesting
from tests.service.history.knowledge.sources import Knowledge
from tests.service.history.running import WORKSPACE, History, finished, order, running, settings_for

__all__ = ["history"]

Act = Callable[[], Awaitable[object]]


async def backed_up(history: History, folder: Path, **before: Act) -> None:
    """A backup; each act is done just before the collection of that name is copied."""
    settings = history.dependencies.settings
    async with stores(settings.mongodb_uri, settings.mongodb_database) as found:
        for name, act in before.items():
            _do_before(found.collection(name), act)
        await Backup(found).write(folder)


def _do_before(collection: Any, act: Act) -> None:
    scan, is_done = collection.scan, False

    async def scanned(*arguments: Any, **options: Any) -> AsyncIterator[list[Document]]:
        nonlocal is_done
        if not is_done:
            is_done = True
            await act()
        async for rows in scan(*arguments, **options):
            yield rows

    collection.scan = scanned


@asynccontextmanager
async def restored_history(history: History, folder: Path) -> AsyncIterator[History]:
    settings = history.dependencies.settings
    name = await restored(settings.mongodb_uri, folder)
    # A Redis of its own: the first history still takes what it finds in the other.
    redis_url = settings.queue_redis_url.removesuffix("/0") + "/1"
    async with Redis.from_url(redis_url) as redis:
        await redis.flushdb()
    again = settings_for(settings.mongodb_uri, redis_url, mongodb_database=name)
    async with running(again) as found:
        await eventually(lambda: is_ready(found), within_s=20.0, what="a ready history")
        yield found


async def counted(history: History) -> int:
    """A document without turns has what attempts have used that did not end their turn."""
    return sum(row.get("turns", 0) for row in await history.documents.usage_days.find({}).to_list(None))


async def test_a_turn_that_is_billed_between_ledger_and_turns_is_counted_once(history: History, tmp_path: Path) -> None:
    """One was added before its ledger was copied and loses its mark after; one is added after; one was long before."""
    await history.publish()
    session = await history.session()
    await history.answer(session)
    waiting = (await history.admit(session)).turn.id
    lease = await history.claim(waiting)

    async def ends_and_is_billed() -> None:
        assert await lease.job.finish(finished(waiting, lease.claimed.attempt))
        await eventually(lambda: is_billed(history, waiting), what="the bill")

    await backed_up(history, tmp_path / "b", turns=ends_and_is_billed)
    async with restored_history(history, tmp_path / "b") as again:
        await eventually(lambda: is_billed(again, waiting), what="the bill")
        assert await counted(again) == await counted(history) == 2
        await again.answer(session)


async def test_a_session_that_is_deleted_between_turns_and_sessions_is_erased_after_the_restore(
    history: History, tmp_path: Path
) -> None:
    await history.publish()
    session = await history.session()
    await history.answer(session)
    await backed_up(history, tmp_path / "b", sessions=lambda: history.client.delete_session(WORKSPACE, session))
    async with restored_history(history, tmp_path / "b") as again:

        async def is_erased() -> bool:
            return not await again.documents.turns.find({"workspace": WORKSPACE, "sessionId": session}).to_list(None)

        await eventually(is_erased, what="the erasure")


async def test_a_turn_that_begins_after_its_predecessor_was_copied_running_is_left_out(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session has one active turn. The restored one is the first, which runs again."""
    await history.publish()
    session, later = await history.session(), list[str]()
    first = (await history.admit(session)).turn.id
    lease = await history.claim(first)

    async def goes_on() -> None:
        assert await lease.job.finish(finished(first, lease.claimed.attempt))
        await history.wait_for_end(first)
        later.append((await history.admit(session)).turn.id)

    settings = history.dependencies.settings
    async with stores(settings.mongodb_uri, settings.mongodb_database) as found:
        scan = found.database.turns.scan

        async def one_by_one(*arguments: Any, **options: Any) -> AsyncIterator[list[Document]]:
            async for rows in scan(*arguments, **options):
                yield rows
                await goes_on()
                async for more in scan(rows[-1]["_id"]):
                    yield more

        monkeypatch.setattr(found.database.turns, "scan", one_by_one)
        await Backup(found).write(tmp_path / "b")
    async with restored_history(history, tmp_path / "b") as again:
        assert await again.documents.turns.find_one({"_id": later[0]}) is None
        lease = await again.claim(first)
        assert await lease.job.finish(finished(first, lease.claimed.attempt))
        await again.wait_for_end(first)
        await again.answer(session)


async def test_an_end_user_who_is_erased_during_the_backup_is_erased_again(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "STAYS_EMPTY_FOR", timedelta(seconds=1))
    monkeypatch.setattr(erasure_watch, "EVERY_S", 0.05)
    await history.publish()
    session = await history.client.create_session(
        WORKSPACE, new_id("ses"), "agt_demo", {}, draft=False, end_user=EndUser(id="ada")
    )
    await history.answer(session.id)
    order = EraseEndUser(id=new_id("era"), end_user="ada")

    async def erased(by: History) -> bool:
        return (await by.client.end_user_erasure(WORKSPACE, order.id)).status == "erased"

    async def erases() -> None:
        await history.client.erase_end_user(WORKSPACE, order)
        await eventually(lambda: erased(history), what="the receipt")

    await backed_up(history, tmp_path / "b", check_suites=erases)
    async with restored_history(history, tmp_path / "b") as again:
        await eventually(lambda: erased(again), what="the receipt")
        assert not await again.documents.turns.find({"workspace": WORKSPACE, "sessionId": session.id}).to_list(None)
        row = await again.documents.sessions.find_one({"_id": session.id})
        assert row is not None
        assert "endUserId" not in row


async def test_sources_that_are_erased_read_anew_or_added_during_the_backup_are_whole_or_gone(
    history: History, tmp_path: Path
) -> None:
    async with ingesting(history):
        knowledge = await Knowledge.of_new_agent(history)
        kept, purged, anew = [await knowledge.text(f"About {each}.") for each in ("ponds", "roses", "bees")]
        for each in (kept, purged, anew):
            await knowledge.ended(each)

        async def changes() -> None:
            await history.client.delete_source(WORKSPACE, knowledge.agent_id, purged.id, None, purge=True)
            await history.client.retry_source(WORKSPACE, knowledge.agent_id, anew.id)
            await knowledge.ended(await knowledge.text("About moles."))
            await eventually(lambda: _has_attempt(history, anew.id, 2), what="a second reading")

        await backed_up(history, tmp_path / "b", passages=changes)
    async with restored_history(history, tmp_path / "b") as again, ingesting(again):
        found = Knowledge(again, knowledge.agent_id)
        await eventually(lambda: _has_attempt(again, anew.id, 3), within_s=30, what="a third reading")

        async def owners() -> set[str]:
            rows = await again.documents.passages.find({}).to_list(None)
            return {row["version"] for row in rows}

        wanted = {f"{WORKSPACE}:{kept.id}:1", f"{WORKSPACE}:{anew.id}:3"}
        await eventually(lambda: _equal(owners, wanted), what="the passages of two sources")
        assert (await found.get(kept)).state == "indexed"
        assert await again.documents.sources.find_one({"_id": purged.id}) is None
        assert (await found.publish()).state == "published"


async def _equal(read: Callable[[], Awaitable[set[str]]], wanted: set[str]) -> bool:
    return await read() == wanted


async def _has_attempt(history: History, source_id: str, attempt: int) -> bool:
    row = await history.documents.sources.find_one({"_id": source_id})
    return bool(row["currentAttempt"] == attempt and row["state"] == "indexed")


@pytest.mark.long
async def test_a_backup_under_load_restores_to_a_stack_in_which_everything_adds_up(
    history: History, tmp_path: Path
) -> None:
    """Sessions, turns and versions go on all the while."""
    await history.publish()
    stopping = asyncio.Event()

    async def caller() -> None:
        while not stopping.is_set():
            session = await history.session()
            for _ in range(2):
                await history.answer(session)

    callers = [asyncio.create_task(caller()) for _ in range(3)]
    try:
        await eventually(lambda: _has_turns(history, 4), what="some turns")
        folders = [tmp_path / f"b{number}" for number in range(3)]
        for number, folder in enumerate(folders):
            await backed_up(history, folder)
            await history.publish(instructions=f"Be brief. {number}")
    finally:
        stopping.set()
        await asyncio.gather(*callers)
    for folder in folders:
        async with restored_history(history, folder) as again:
            await _adds_up(again)


async def _has_turns(history: History, count: int) -> bool:
    return await history.count() >= count


async def _adds_up(history: History) -> None:
    sessions = {row["_id"]: row for row in await history.documents.sessions.find({}).to_list(None)}
    turns = await history.documents.turns.find({}).to_list(None)
    versions = {row["_id"] for row in await history.documents.agent_versions.find({}).to_list(None)}
    assert turns
    assert {turn["sessionId"] for turn in turns} <= sessions.keys()
    assert {f"{WORKSPACE}:agt_demo:{row['agentVersion']}" for row in sessions.values()} <= versions
    for turn in turns:
        if turn["active"]:
            lease = await history.claim(turn["_id"])
            assert await lease.job.finish(finished(turn["_id"], lease.claimed.attempt))
            await history.wait_for_end(turn["_id"])
        await eventually(partial(is_billed, history, turn["_id"]), what="the bill")
    assert await counted(history) == len(turns)
    await history.answer(next(iter(sessions)))
    assert await history.publish(instructions="Be longer.") == len(versions) + 1


async def test_a_turn_is_kept_whose_successor_has_a_lower_id(history: History, tmp_path: Path) -> None:
    """Two gateways made the ids, and their clocks differ."""
    await history.publish()
    session = await history.session()
    first, second = sorted((new_id("trn"), new_id("trn")), reverse=True)
    for turn_id in (first, second):
        await history.client.admit(WORKSPACE, order(session, "Hello?").model_copy(update={"turn_id": turn_id}))
        lease = await history.claim(turn_id)
        if turn_id == first:
            assert await lease.job.finish(finished(first, lease.claimed.attempt))
            await history.wait_for_end(first)
    await backed_up(history, tmp_path / "b")
    async with restored_history(history, tmp_path / "b") as again:
        rows = await again.documents.turns.find({"workspace": WORKSPACE, "sessionId": session}).to_list(None)
        assert {row["_id"]: row["active"] for row in rows} == {first: False, second: True}


async def test_of_two_erasures_of_one_end_user_the_one_that_begins_again_is_copied(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first ends during the backup, and the second begins before the watch has seen it."""
    monkeypatch.setattr(receipts, "STAYS_EMPTY_FOR", timedelta(seconds=1))
    first, second = EraseEndUser(id=new_id("era"), end_user="ada"), EraseEndUser(id=new_id("era"), end_user="ada")

    async def ends_and_begins() -> None:
        async def erased() -> bool:
            return (await history.client.end_user_erasure(WORKSPACE, first.id)).status == "erased"

        await eventually(erased, what="the receipt")
        await history.client.erase_end_user(WORKSPACE, second)

    await history.client.erase_end_user(WORKSPACE, first)
    monkeypatch.setattr(erasure_watch, "EVERY_S", 3600.0)
    await backed_up(history, tmp_path / "b", end_user_erasures=ends_and_begins)
    async with restored_history(history, tmp_path / "b") as again:

        async def erased_again() -> bool:
            return (await again.client.end_user_erasure(WORKSPACE, first.id)).status == "erased"

        await eventually(erased_again, what="the receipt")


async def test_documents_of_a_later_release_are_not_backed_up_by_this_one(history: History, tmp_path: Path) -> None:
    """This release could not restore them, and its own name would be in the manifest."""
    await history.publish()
    await history.documents.agents.update_many({}, {"$set": {"schemaVersion": 99}})
    with pytest.raises(BackupFault, match="agents of schema version 99 and this release writes 1: back it up with"):
        await backed_up(history, tmp_path / "b")
    assert not list(tmp_path.iterdir())
