"""Temporary folders of a process, and the end of those whose process was killed.

They hold texts of documents, which must not stay on a disk because their process could not remove them. Each folder is
locked for as long as its process lives; whoever makes one removes the unlocked ones of the same kind.
"""

import fcntl
import os
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_LOCK: Final = ".lock"
# Earlier releases made folders without a lock, and may run beside this one during an upgrade.
_WITHOUT_LOCK_S: Final = 86_400.0


class OwnFolder:
    """A new folder below the system's temporary one, as a context manager or until `remove`. Raises OSError.

    `prefix`: the kind of folder. Blocks for as long as it takes to list the temporary folder and to remove what is
    abandoned.
    """

    def __init__(self, prefix: str) -> None:
        for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
            with suppress(OSError):
                _remove_if_abandoned(folder)
        while not self._taken(prefix):
            pass

    def _taken(self, prefix: str) -> bool:
        """False: another process saw the new folder before it was locked, and has removed it."""
        self.path = Path(tempfile.mkdtemp(prefix=prefix))
        path = self.path / _LOCK
        lock = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            os.close(lock)
            return False
        self._lock: int | None = lock
        return True

    def remove(self) -> None:
        """May be repeated."""
        if self._lock is not None:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


def _remove_if_abandoned(folder: Path) -> None:
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        return
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        if time.time() - found.st_mtime > _WITHOUT_LOCK_S:
            shutil.rmtree(folder, ignore_errors=True)
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        return
    finally:
        os.close(lock)
