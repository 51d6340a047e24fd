"""The folder of a backup: nobody else reads it, and what stands beside it is safe."""

import stat
from pathlib import Path
from uuid import uuid4

import pytest

from services.history.backups import aside
from services.history.backups.backup import Backup
from services.history.backups.faults import BackupFault
from services.history.backups.restore import Restore
from tests.service.history.backups.rig import Filled, files, stores


async def test_only_the_owner_may_read_a_backup_whatever_its_folder_was_before(
    mongodb_uri: str, filled: Filled, tmp_path: Path
) -> None:
    """Files that are packed and unpacked elsewhere keep their own modes."""
    (tmp_path / "nightly.partial").mkdir(mode=0o777)
    (tmp_path / "nightly.partial").chmod(0o777)
    async with stores(mongodb_uri, filled.name) as found:
        await Backup(found).write(tmp_path / "nightly")
    assert stat.S_IMODE((tmp_path / "nightly").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in files(tmp_path / "nightly")} == {0o600}


def test_a_link_in_the_place_of_the_unfinished_folder_is_not_followed(tmp_path: Path) -> None:
    """What it names was emptied."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "precious").write_bytes(b"x")
    (tmp_path / "nightly.partial").symlink_to(other)
    with pytest.raises(BackupFault, match="is in the way"), aside.aside(tmp_path / "nightly"):
        raise AssertionError("it began")
    assert (other / "precious").exists()


def test_links_in_an_unfinished_folder_are_removed_and_not_followed(tmp_path: Path) -> None:
    other, partial = tmp_path / "other", tmp_path / "nightly.partial"
    other.mkdir()
    (other / "precious").write_bytes(b"x")
    partial.mkdir()
    (partial / "link").symlink_to(other)
    with aside.aside(tmp_path / "nightly") as folder:
        assert not list(folder.iterdir())
    assert (other / "precious").exists()


def test_a_link_that_names_nothing_is_in_the_way_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "nightly").symlink_to(tmp_path / "nowhere")
    with pytest.raises(BackupFault, match="exists: name a new folder"), aside.aside(tmp_path / "nightly"):
        raise AssertionError("it began")


async def test_a_restore_tells_how_far_its_examination_and_its_writing_are(mongodb_uri: str, filled: Filled) -> None:
    examined, restored = dict[str, int](), dict[str, int]()
    async with stores(mongodb_uri, f"test_{uuid4().hex}", restoring=True) as found:
        restore = Restore(found, progress=restored.__setitem__, examining=examined.__setitem__)
        manifest = await restore.run(filled.folder)
    files = sum(each.documents for each in manifest.blob_lists)
    assert examined == restored
    assert {**restored, **manifest.counts, "blobs": files} == {**manifest.counts, **restored}
