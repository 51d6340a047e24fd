"""The folder in which a backup is written before it gets its name."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.history.backups.faults import BackupFault


@contextmanager
def aside(folder: Path) -> Iterator[Path]:
    """A folder beside, which this process alone uses. What a killed backup has left there is removed.

    It is removed after an error: a disk that became full has room again.
    """
    if folder.exists():
        raise BackupFault(f"{folder} exists: name a new folder")
    partial = folder.with_name(folder.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(partial, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupFault(f"another backup is writing {partial}: wait for it, or name another folder") from None
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
        if each.is_dir():
            shutil.rmtree(each)
        else:
            each.unlink()
