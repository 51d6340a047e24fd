"""A disk that becomes full: there is no backup that looks whole, and the room is given back."""

import errno
from pathlib import Path

import pytest

from services.history.backups import files
from services.history.backups.backup import Backup
from services.history.backups.faults import BackupFault
from tests.service.history.backups.rig import Filled, stores


@pytest.mark.parametrize("room", [0, 1000, 30_000, 100_000])
async def test_a_full_disk_leaves_nothing_behind(
    mongodb_uri: str, filled: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    write, left = files._Summed.write, room

    def limited(file: files._Summed, data: bytes) -> int:
        nonlocal left
        left -= len(data)
        if left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data)

    async with stores(mongodb_uri, filled.name) as found:
        with monkeypatch.context() as patch:
            patch.setattr(files._Summed, "write", limited)
            with pytest.raises(OSError, match="No space left"):
                await Backup(found).write(tmp_path / "nightly")
        assert not list(tmp_path.iterdir())
        await Backup(found).write(tmp_path / "nightly")
        with pytest.raises(BackupFault, match="exists: name a new folder"):
            await Backup(found).write(tmp_path / "nightly")
