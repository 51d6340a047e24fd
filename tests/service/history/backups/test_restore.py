"""Backups are whole or refused, and a restore ends with what was backed up, also after it was cut off."""

import asyncio
import hashlib
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from services.history.backups.examination import examined
from services.history.backups.faults import BackupFault
from services.history.backups.files import lines_of
from services.history.backups.manifest import MANIFEST
from services.history.backups.restore import Restore
from services.history.backups.stores import Stores
from services.history.backups.verification import TAKEN_OVER
from services.history.mongo.client import RESTORING, Database
from services.history.mongo.document_lines import document_of
from services.history.mongo.indexes import INDEXES
from services.history.mongo.migrations import STEPS
from shared.contracts.errors import ApiError
from tests.conftest import eventually
from tests.service.history.backups.rig import KEY, Filled, content, files, packed, restored, rewritten, signed, stores
from tests.service.history.conftest import is_ready
from tests.service.history.running import WORKSPACE, finished, running, settings_for


@pytest.fixture
def copy(filled: Filled, tmp_path: Path) -> Path:
    """A backup that a test may damage."""
    shutil.copytree(filled.folder, tmp_path / "copy")
    return tmp_path / "copy"


async def test_a_restored_database_holds_what_was_backed_up(mongodb_uri: str, filled: Filled) -> None:
    assert filled.manifest.counts["turns"] == 2
    assert sum(each.documents for each in filled.manifest.blob_lists) == 2
    name = await restored(mongodb_uri, filled.folder)
    assert await content(mongodb_uri, name) == await content(mongodb_uri, filled.name)


async def test_a_backup_holds_no_secret(filled: Filled) -> None:
    secret = filled.secret.encode()
    for path in files(filled.folder):
        raw = b"".join(lines_of(path)) if path.suffix == ".gz" else path.read_bytes()
        assert secret not in raw, path.name


async def test_a_restored_stack_goes_on_with_session_key_usage_and_the_running_turn(
    mongodb_uri: str, redis_url: str, filled: Filled
) -> None:
    """Redis is empty: whatever it held is made again from the documents."""
    name = await restored(mongodb_uri, filled.folder)
    async with running(settings_for(mongodb_uri, redis_url, mongodb_database=name)) as history:
        await eventually(lambda: is_ready(history), within_s=20.0, what="a ready history")
        assert (await history.client.session(WORKSPACE, filled.session)).turn_count == 1
        assert (await history.client.turn(WORKSPACE, filled.ended)).output[-1].content == "At nine."
        assert await history.documents.usage_days.find({}, {"billed": 0}).to_list(None) == filled.usage

        async def is_enqueued() -> bool:
            return await history.queue.zscore("parley:turns", filled.running) is not None

        await eventually(is_enqueued, what="the job of the turn that ran")
        lease = await history.claim(filled.running)
        assert lease.claimed.attempt == 2  # The worker of before the backup is fenced.
        assert await lease.job.finish(finished(filled.running, 2))
        await history.wait_for_end(filled.running)
        await history.answer(filled.session, "And today?", "Too.")


@pytest.mark.parametrize("kind", [MANIFEST, "turns-", "blobs-", "blobs/"])
async def test_a_changed_byte_is_refused_before_anything_is_written(mongodb_uri: str, copy: Path, kind: str) -> None:
    path = next(path for path in files(copy) if str(path.relative_to(copy)).startswith(kind))
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    await _is_refused(mongodb_uri, copy, path.name)


@pytest.mark.parametrize("kind", [MANIFEST, "turns-", "blobs-", "blobs/"])
async def test_a_file_that_was_cut_off_is_refused(mongodb_uri: str, copy: Path, kind: str) -> None:
    path = next(path for path in files(copy) if str(path.relative_to(copy)).startswith(kind))
    path.write_bytes(path.read_bytes()[:-3])
    await _is_refused(mongodb_uri, copy, path.name)


async def test_a_changed_text_in_a_file_that_can_be_read_is_refused(mongodb_uri: str, copy: Path) -> None:
    """Only the digest tells: the file is whole, and each line is a document."""
    path = next(copy.glob("turns-*"))
    lines = [line.replace(b"At nine.", b"At five.") for line in lines_of(path)]
    path.write_bytes(packed(lines))
    await _is_refused(mongodb_uri, copy, path.name)


async def test_a_missing_file_and_a_folder_without_a_manifest_are_refused(mongodb_uri: str, copy: Path) -> None:
    next(copy.glob("sessions-*")).unlink()
    await _is_refused(mongodb_uri, copy, "sessions-")
    (copy / MANIFEST).unlink()
    await _is_refused(mongodb_uri, copy, "is no backup")


async def test_a_backup_of_a_later_release_is_refused_with_its_name(mongodb_uri: str, copy: Path) -> None:
    signed(copy, release="9.9.9", format=2)
    await _is_refused(mongodb_uri, copy, "restore it with release 9.9.9 or a later one")
    signed(copy, format=1, schemaVersions={"turns": len(STEPS["turns"]) + 1})
    await _is_refused(mongodb_uri, copy, "turns of schema version")
    signed(copy, schemaVersions={}, counts={"dreams": 0})
    await _is_refused(mongodb_uri, copy, "dreams")


async def _is_refused(mongodb_uri: str, folder: Path, text: str) -> None:
    with pytest.raises(BackupFault, match=text):
        examined(folder)
    database = Database(mongodb_uri, "never_opened", restoring=True)  # Each call of it would raise something else.
    with pytest.raises(BackupFault, match=text):
        await Restore(Stores(database, database.blobs)).run(folder)


async def test_a_database_that_is_not_empty_is_refused_and_left_as_it_is(mongodb_uri: str, filled: Filled) -> None:
    before = await content(mongodb_uri, filled.name)
    with pytest.raises(BackupFault, match="the database is not empty"):
        await restored(mongodb_uri, filled.folder, filled.name)
    assert await content(mongodb_uri, filled.name) == before
    async with stores(mongodb_uri, filled.name) as found:  # It is open for a history again.
        assert not await found.database.restores.many({}, limit=1)


async def test_a_backup_is_restored_into_a_database_once(mongodb_uri: str, filled: Filled) -> None:
    name = await restored(mongodb_uri, filled.folder)
    with pytest.raises(BackupFault, match="restored into this database already"):
        await restored(mongodb_uri, filled.folder, name)


class _Killed(Exception):
    pass


@pytest.mark.parametrize("writes", [9, *(pytest.param(writes, marks=pytest.mark.long) for writes in (0, 1, 5, 14, 18))])
async def test_a_restore_that_was_cut_off_goes_on_to_the_same_end(
    mongodb_uri: str, filled: Filled, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    """Whatever the number of writes after which it ends."""
    name, left = f"test_{uuid4().hex}", writes
    async with stores(mongodb_uri, name, restoring=True) as found:

        def failing(operation: Callable[..., Any]) -> Callable[..., Any]:
            async def call(*arguments: Any) -> Any:
                nonlocal left
                left -= 1
                if left < 0:
                    raise _Killed
                return await operation(*arguments)

            return call

        with monkeypatch.context() as patch:
            for collection in found.database.collections:
                patch.setattr(collection, "insert_as_is", failing(collection.insert_as_is))
                patch.setattr(collection, "update", failing(collection.update))
            patch.setattr(found.blobs, "put", failing(found.blobs.put))
            with pytest.raises(_Killed):
                await Restore(found).run(filled.folder)
    await restored(mongodb_uri, filled.folder, name)
    assert await content(mongodb_uri, name) == await content(mongodb_uri, filled.name)


@pytest.mark.parametrize("held", ["sessions", "turns", "restores"])
async def test_of_two_restores_of_one_backup_the_later_one_completes_it_and_the_other_says_so(
    mongodb_uri: str, filled: Filled, monkeypatch: pytest.MonkeyPatch, held: str
) -> None:
    """The first is held up before it writes to a collection, or notes that the database was empty."""
    name, reached, released = f"test_{uuid4().hex}", asyncio.Event(), asyncio.Event()
    async with (
        stores(mongodb_uri, name, restoring=True) as found,
        stores(mongodb_uri, name, restoring=True) as others,
    ):
        collection = found.database.restores if held == "restores" else found.collection(held)
        method = "update" if held == "restores" else "insert_as_is"
        plain = getattr(collection, method)

        async def pause(*arguments: Any) -> Any:
            if method == "insert_as_is" or "$max" in arguments[1]:
                reached.set()
                await released.wait()
            return await plain(*arguments)

        monkeypatch.setattr(collection, method, pause)
        first = asyncio.create_task(Restore(found).run(filled.folder))
        await reached.wait()
        await Restore(others).run(filled.folder)
        erased = await others.database.sessions.many({}, limit=1)
        assert await others.database.sessions.delete({"_id": erased[0]["_id"]}), "as a history that serves by now"
        before = await content(mongodb_uri, name)
        released.set()
        with pytest.raises(BackupFault, match="has begun since and goes on with it"):
            await first
        now = await content(mongodb_uri, name)
        # A write that was under way may still arrive; none follows it.
        assert {each: rows for each, rows in now.items() if each != held} == {
            each: rows for each, rows in before.items() if each != held
        }


async def test_a_history_waits_while_its_database_is_being_restored(
    mongodb_uri: str, redis_url: str, filled: Filled, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"test_{uuid4().hex}"
    async with stores(mongodb_uri, name, restoring=True) as found:
        await found.database.restores.insert({"_id": filled.manifest.id, "running": True, "done": 0})
        async with running(settings_for(mongodb_uri, redis_url, mongodb_database=name)) as history:
            await eventually(lambda: RESTORING in capsys.readouterr().out, what="the reason in the log")
            with pytest.raises(ApiError):
                await history.client.create_key(KEY)
            await Restore(found).run(filled.folder)
            await eventually(lambda: is_ready(history), within_s=20.0, what="a ready history")
            assert (await history.client.session(WORKSPACE, filled.session)).turn_count == 1


async def test_another_backup_does_not_go_on_with_a_restore(mongodb_uri: str, filled: Filled) -> None:
    name = f"test_{uuid4().hex}"
    async with stores(mongodb_uri, name, restoring=True) as found:
        await found.database.restores.insert({"_id": "bak_other", "running": True, "done": 3})
        with pytest.raises(BackupFault, match="another backup is being restored"):
            await Restore(found).run(filled.folder)


async def test_documents_that_a_history_wrote_during_a_restore_are_found(
    mongodb_uri: str, filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stores(mongodb_uri, f"test_{uuid4().hex}", restoring=True) as found:
        sessions = found.database.sessions
        insert = sessions.insert_as_is

        async def beside(rows: list[dict[str, Any]]) -> None:
            await sessions.insert({"_id": "ses_zz", "workspace": WORKSPACE, "status": "active"})
            await insert(rows)

        monkeypatch.setattr(sessions, "insert_as_is", beside)
        with pytest.raises(BackupFault, match="sessions has 1 documents that are not of the backup"):
            await Restore(found).run(filled.folder)


async def test_a_unique_value_that_changed_hands_during_the_backup_stops_no_restore(
    mongodb_uri: str, copy: Path
) -> None:
    """Both agents were copied with one slug. One of them gives it up."""
    agents = [document_of(line) for line in lines_of(next(copy.glob("agents-*")))]
    twins = [{**agents[0], "_id": f"{WORKSPACE}:agt_{name}", "agentId": f"agt_{name}", "slug": "twin"} for name in "xy"]
    rewritten(copy, "agents", [*agents, *twins])
    name = await restored(mongodb_uri, copy)
    rows = (await content(mongodb_uri, name))["agents"]
    assert [row.get("slug") for row in rows if row["_id"][-5:] in ("agt_x", "agt_y")] == ["twin", None]


async def test_documents_that_have_expired_meanwhile_are_not_missed(mongodb_uri: str, copy: Path) -> None:
    """MongoDB may delete them as soon as they are stored."""
    turns = [document_of(line) for line in lines_of(next(copy.glob("turns-*")))]
    old = {"_id": "trn_0", "workspace": WORKSPACE, "active": False, "expiresAt": datetime(2026, 1, 1, tzinfo=UTC)}
    rewritten(copy, "turns", [old, *turns])
    async with stores(mongodb_uri, f"test_{uuid4().hex}", restoring=True) as found:
        insert = found.database.turns.insert_as_is

        async def without_old(rows: list[dict[str, Any]]) -> None:
            await insert([row for row in rows if row["_id"] != "trn_0"])

        found.database.turns.insert_as_is = without_old  # type: ignore[method-assign,assignment]
        await Restore(found).run(copy)


async def test_a_restore_that_was_killed_before_it_looked_at_the_database_looks_at_it(
    mongodb_uri: str, filled: Filled
) -> None:
    """Its mark alone does not say that the database was empty."""
    async with stores(mongodb_uri, f"test_{uuid4().hex}", restoring=True) as found:
        await found.database.sessions.insert({"_id": "ses_1", "workspace": WORKSPACE, "status": "active"})
        await found.database.restores.insert({"_id": filled.manifest.id, "running": True})
        with pytest.raises(BackupFault, match="the database is not empty"):
            await Restore(found).run(filled.folder)
        assert not await found.database.restores.many({}, limit=1)


async def test_two_turns_that_were_copied_as_orphans_of_one_retry_key_are_both_restored(
    mongodb_uri: str, copy: Path
) -> None:
    """The first was no orphan any more when the second became one; both were read in between."""
    turns = [document_of(line) for line in lines_of(next(copy.glob("turns-*")))]
    plain = {"workspace": WORKSPACE, "active": False, "orphan": "r1", "retryKey": "r1"}
    rewritten(copy, "turns", [*turns, *({"_id": f"trn_z{number}", **plain} for number in (1, 2))])
    rows = (await content(mongodb_uri, await restored(mongodb_uri, copy)))["turns"]
    assert [row.get("orphan") for row in rows if row["_id"].startswith("trn_z")] == ["r1", None]


def test_every_unique_value_that_may_change_hands_can_be_given_up() -> None:
    """A new unique index belongs into one of the two lists."""
    stays = {
        # Made with the document, or within one document, and never given to another one.
        ("agents", "create_key"),
        ("agent_versions", "publish_key"),
        ("agent_versions", None),
        ("check_runs", "run_key"),
        ("passages", None),
        ("keys", None),
        ("keys", "old_digest"),
        # `Backup` leaves out what would take it over.
        ("turns", "one_active_turn_per_session"),
        ("turns", "turn_number"),
        ("end_user_erasures", "one_erasure_at_a_time"),
    }
    given_up = {(name, member) for name, members in TAKEN_OVER.items() for member in members}
    for name, indexes in INDEXES.items():
        for index in indexes:
            if index.unique and (name, index.name) not in stays:
                assert (name, index.keys[-1]) in given_up, (name, index.keys)


@pytest.mark.parametrize("name", ["../turns-000001.ndjson.gz", "/dev/zero", "blobs/../../x"])
async def test_a_manifest_that_names_a_file_outside_its_folder_is_refused(
    mongodb_uri: str, copy: Path, name: str
) -> None:
    file = {"name": name, "collection": "turns", "documents": 1, "size": 1, "sha256": "0" * 64}
    signed(copy, files=[file])
    await _is_refused(mongodb_uri, copy, "is damaged")


async def test_what_is_no_folder_or_no_json_or_cannot_be_read_is_refused_in_a_sentence(
    mongodb_uri: str, copy: Path, tmp_path: Path
) -> None:
    (tmp_path / "backup.tar.gz").write_bytes(b"x")
    await _is_refused(mongodb_uri, tmp_path / "backup.tar.gz", "is no folder: unpack it")
    (copy / MANIFEST).write_bytes(b"{\n" + hashlib.sha256(b"{").hexdigest().encode() + b"\n")
    await _is_refused(mongodb_uri, copy, "is damaged")
    (copy / MANIFEST).unlink()
    (copy / MANIFEST).mkdir()
    await _is_refused(mongodb_uri, copy, "cannot be read: Is a directory")
