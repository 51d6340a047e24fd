"""Files of a backup: compressed lines with the digest of what was written, on the disk before they count."""

import gzip
import hashlib
import os
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Final, NamedTuple, Self, cast

from services.history.backups.faults import BackupFault

# Text of turns shrinks to a sixth; level 6 takes twice as long for a tenth less.
LEVEL: Final = 3
PIECE: Final = 1 << 20
# Transcripts are in them: nobody else may read them, also where the folder is packed or copied.
MODE: Final = 0o600
# A digest in hexadecimal and sizes need no more; a document has at most 16 MiB, and more as tagged JSON.
MAX_LINE: Final = 64 << 20


class Sum(NamedTuple):
    """Of a file's bytes."""

    size: int
    sha256: str


class _Summed:
    """A file for writing that knows the digest of its bytes."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "xb", opener=_private)  # noqa: SIM115  # Path.open takes no opener
        self._digest = hashlib.sha256()
        self._size = 0

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        self._size += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def finish(self) -> Sum:
        self._file.flush()
        os.fsync(self._file.fileno())
        self.close()
        return Sum(self._size, self._digest.hexdigest())

    def close(self) -> None:
        self._file.close()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, MODE)


class LineFile:
    """A new file of lines. Raises OSError, for a full disk too."""

    def __init__(self, path: Path) -> None:
        self._raw = _Summed(path)
        try:
            # Without a time and a name of its own, the same lines are the same bytes.
            self._packed = gzip.GzipFile("", "wb", LEVEL, cast("IO[bytes]", self._raw), mtime=0)
        except OSError:  # It has written its header.
            self._raw.close()
            raise
        self.lines = 0
        self.bytes = 0

    def add(self, line: bytes) -> None:
        self._packed.write(line)
        self.lines += 1
        self.bytes += len(line)

    def finish(self) -> Sum:
        """The file is on the disk when this returns."""
        self._packed.close()
        return self._raw.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._raw.close()


async def write_blob(path: Path, content: AsyncIterator[bytes]) -> Sum:
    """Raises OSError, and what `content` raises: then there is no file."""
    raw = _Summed(path)
    try:
        async for piece in content:
            raw.write(piece)
        return raw.finish()
    except BaseException:
        path.unlink()  # noqa: ASYNC240  # as blocking as the writes
        raise
    finally:
        raw.close()


def written(path: Path, data: bytes) -> None:
    """A whole small file."""
    raw = _Summed(path)
    try:
        raw.write(data)
        raw.finish()
    finally:
        raw.close()


def sync_folder(folder: Path) -> None:
    """The names in the folder are on the disk when this returns."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sum_of(path: Path) -> Sum:
    """Raises BackupFault for a file that is missing or cannot be read."""
    digest, size = hashlib.sha256(), 0
    for piece in pieces_of(path):
        digest.update(piece)
        size += len(piece)
    return Sum(size, digest.hexdigest())


def pieces_of(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                yield piece
    except OSError as error:
        raise BackupFault(f"{path} cannot be read: {error.strerror}") from None


def lines_of(path: Path) -> Iterator[bytes]:
    """Raises BackupFault for a file that is not whole."""
    try:
        with gzip.open(path, "rb") as file:
            while line := file.readline(MAX_LINE):
                yield line
    except (OSError, EOFError, ValueError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or "it is damaged"
        raise BackupFault(f"{path} cannot be read: {reason}") from None
