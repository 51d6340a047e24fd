"""The folder in which a backup is written before it gets its name."""

import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.history.backups.faults import BackupFault


@contextmanager
def aside(folder: Path) -> Iterator[Path]:
    """A folder beside, which this process alone uses. What a killed backup has left there is removed.

    It is removed after an error: a disk that became full has room again. Only its owner may read it: it holds
    transcripts, and whatever stood there before may have been open to others.
    """
    if os.path.lexists(folder):
        raise BackupFault(f"{folder} exists: name a new folder")
    partial = folder.with_name(folder.name + ".partial")
    if os.path.lexists(partial) and not stat.S_ISDIR(partial.lstat().st_mode):
        raise BackupFault(f"{partial} is in the way and is no folder: remove it, or name another folder")
    partial.mkdir(parents=True, exist_ok=True, mode=0o700)
    # A link would have us empty the folder that it names.
    descriptor = os.open(partial, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupFault(f"another backup is writing {partial}: wait for it, or name another folder") from None
        os.fchmod(descriptor, 0o700)
        _empty(partial)
        try:
            yield partial
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    finally:
        os.close(descriptor)


def _empty(folder: Path) -> None:
    for each in folder.iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink()
