"""Backups of a deployment whose knowledge files are in an S3 bucket."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from services.history.backups.backup import Backup
from services.history.backups.examination import examined
from services.history.backups.faults import BackupFault
from services.history.backups.restore import Restore
from services.history.backups.stores import Stores, opened
from services.history.knowledge.s3_blobs import PART, s3_blobs_of
from services.history.mongo import patience
from services.history.mongo.client import Database
from services.history.mongo.patience import NoAnswer
from tests.conftest import eventually
from tests.service.history.backups.rig import stores
from tests.service.history.conftest import is_ready
from tests.service.history.knowledge.s3_server import S3Server, s3_server
from tests.service.history.knowledge.sources import Knowledge
from tests.service.history.knowledge.test_blob_stores import s3_settings
from tests.service.history.running import driver_of_tests, running, settings_for


@pytest.fixture
async def s3() -> AsyncIterator[S3Server]:
    async with s3_server() as server:
        server.page = 2
        yield server


@pytest.fixture
async def name(s3: S3Server, mongodb_uri: str, redis_url: str) -> str:
    """A database whose history had the bucket: three sources, one of them uploaded in parts."""
    own = {each: value for each, value in dict(s3_settings(s3)).items() if each.startswith("s3_")}
    settings = settings_for(mongodb_uri, redis_url).model_copy(update=own)
    async with running(settings) as history:
        await eventually(lambda: is_ready(history), within_s=20.0, what="a ready history")
        knowledge = await Knowledge.of_new_agent(history)
        await knowledge.text("The garden is open from nine.")
        await knowledge.text("The pond is deep.")
        await knowledge.file("plan.md", b"# Plan\n" + b"The garden has a pond. " * (PART // 23 + 10))
    assert len(s3.objects) == 3
    return settings.mongodb_database


@asynccontextmanager
async def with_bucket(
    mongodb_uri: str, name: str, s3: S3Server, *, restoring: bool = False, prefix: str = "parley"
) -> AsyncIterator[Stores]:
    database = Database(mongodb_uri, name, driver=driver_of_tests(), restoring=restoring)
    async with opened(database, s3_blobs_of(s3_settings(s3, s3_prefix=prefix))) as found:
        yield found


def held(s3: S3Server, prefix: str) -> dict[str, bytes]:
    start = f"{prefix}/"
    return {key.removeprefix(start): raw for key, (raw, _) in s3.objects.items() if key.startswith(start)}


async def test_files_of_a_bucket_are_backed_up_and_restored_below_another_prefix(
    mongodb_uri: str, name: str, s3: S3Server, tmp_path: Path
) -> None:
    async with with_bucket(mongodb_uri, name, s3) as found:
        manifest = await Backup(found).write(tmp_path / "b")
    assert sum(each.documents for each in manifest.blob_lists) == 3
    assert examined(tmp_path / "b").blob_lists == manifest.blob_lists
    async with with_bucket(mongodb_uri, f"test_{uuid4().hex}", s3, restoring=True, prefix="again") as found:
        await Restore(found).run(tmp_path / "b")
    assert held(s3, "again") == held(s3, "parley")
    assert s3.uploads == {}


async def test_a_bucket_with_files_is_refused_unless_it_is_to_be_used_again(
    mongodb_uri: str, name: str, s3: S3Server, tmp_path: Path
) -> None:
    async with with_bucket(mongodb_uri, name, s3) as found:
        await Backup(found).write(tmp_path / "b")
    before = dict(s3.objects)
    lost = min(s3.objects)
    async with with_bucket(mongodb_uri, f"test_{uuid4().hex}", s3, restoring=True) as found:
        with pytest.raises(BackupFault, match="add --reuse-blobs"):
            await Restore(found).run(tmp_path / "b")
        del s3.objects[lost]
        await Restore(found, reuse_blobs=True).run(tmp_path / "b")
    assert {key: raw for key, (raw, _) in s3.objects.items()} == {key: raw for key, (raw, _) in before.items()}
    assert all(s3.objects[key] == before[key] for key in before if key != lost), (
        "those that were there are not sent again"
    )


class _Killed(Exception):
    pass


@pytest.mark.parametrize("files", [1, *(pytest.param(files, marks=pytest.mark.long) for files in (0, 2))])
async def test_a_restore_into_a_bucket_that_was_cut_off_goes_on_to_the_same_end(
    mongodb_uri: str, name: str, s3: S3Server, tmp_path: Path, files: int
) -> None:
    async with with_bucket(mongodb_uri, name, s3) as found:
        await Backup(found).write(tmp_path / "b")
    left = files
    again = f"test_{uuid4().hex}"
    async with with_bucket(mongodb_uri, again, s3, restoring=True, prefix="again") as found:
        put = found.blobs.put

        async def failing(*arguments: Any) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise _Killed
            await put(*arguments)

        found.blobs.put = failing  # type: ignore[method-assign,assignment]
        with pytest.raises(_Killed):
            await Restore(found).run(tmp_path / "b")
    assert len(held(s3, "again")) == files
    async with with_bucket(mongodb_uri, again, s3, restoring=True, prefix="again") as found:
        await Restore(found).run(tmp_path / "b")
    assert held(s3, "again") == held(s3, "parley")


async def test_a_file_that_is_erased_between_the_list_and_its_copy_is_left_out(
    mongodb_uri: str, name: str, s3: S3Server, tmp_path: Path
) -> None:
    async with with_bucket(mongodb_uri, name, s3) as found:
        listed = found.blobs.older_than

        async def then_erased(*arguments: Any) -> list[str]:
            ids = await listed(*arguments)
            for key in ids[:1]:
                del s3.objects[f"parley/{key}"]
            found.blobs.older_than = listed  # type: ignore[method-assign]
            return ids

        found.blobs.older_than = then_erased  # type: ignore[method-assign,assignment]
        manifest = await Backup(found).write(tmp_path / "b")
    assert sum(each.documents for each in manifest.blob_lists) == 2
    assert examined(tmp_path / "b").blob_lists == manifest.blob_lists


async def test_a_bucket_that_is_away_for_a_moment_is_waited_for(
    mongodb_uri: str, name: str, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with with_bucket(mongodb_uri, name, s3) as found:
        read, is_back = found.blobs.read, False

        def failing_once(blob_id: str) -> AsyncIterator[bytes]:
            nonlocal is_back
            s3.status = 200 if is_back else 500
            is_back = True
            return read(blob_id)

        monkeypatch.setattr(found.blobs, "read", failing_once)
        manifest = await Backup(found).write(tmp_path / "b")
    assert sum(each.documents for each in manifest.blob_lists) == 3


async def test_a_bucket_that_does_not_exist_is_told_and_nothing_is_kept(
    mongodb_uri: str,
    name: str,
    s3: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It was told as a file that is missing, and named none."""
    async with with_bucket(mongodb_uri, name, s3) as found:
        await Backup(found).write(tmp_path / "b")
        with monkeypatch.context() as patch:
            patch.setattr(patience, "PATIENCE_S", 0.0)
            with pytest.raises(NoAnswer, match="see the last line of the log"):
                await Backup(replace_bucket(found, s3)).write(tmp_path / "c")
    async with with_bucket(mongodb_uri, f"test_{uuid4().hex}", s3, restoring=True) as found:
        with monkeypatch.context() as patch:
            patch.setattr(patience, "PATIENCE_S", 0.0)
            with pytest.raises(NoAnswer):
                await Restore(replace_bucket(found, s3)).run(tmp_path / "b")
    assert capsys.readouterr().out.count("status=404") >= 2
    assert not (tmp_path / "c").exists()


def replace_bucket(found: Stores, s3: S3Server) -> Stores:
    return found._replace(blobs=s3_blobs_of(s3_settings(s3, s3_bucket="another")))


async def test_a_backup_without_the_variables_of_the_bucket_is_refused(
    mongodb_uri: str, name: str, tmp_path: Path
) -> None:
    """It would have had all documents and none of their files."""
    async with stores(mongodb_uri, name) as found:
        with pytest.raises(BackupFault, match="set the PARLEY_S3_\\* variables as history has them"):
            await Backup(found).write(tmp_path / "b")
    assert not list(tmp_path.iterdir())
