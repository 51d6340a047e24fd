"""Writes a backup: a folder that gets its name once all of it is on the disk."""

import fcntl
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from services.history.backups.blob_files import copy_blobs
from services.history.backups.faults import BackupFault
from services.history.backups.files import LineFile, sync_folder
from services.history.backups.manifest import FORMAT, BackupFile, Manifest, write_manifest
from services.history.backups.order import NOT_COPIED, ORDER, Copied, reopened
from services.history.backups.stores import Stores
from services.history.mongo.document_lines import line_of
from services.history.mongo.filters import Document
from services.history.mongo.migrations import VERSION as SCHEMA_VERSION
from services.history.mongo.patience import batches
from shared.ids import id_at, new_id
from shared.version import VERSION

MAX_DOCUMENTS: Final = 20_000
MAX_BYTES: Final = 64 << 20

Progress = Callable[[str, int], None]
"""Is told a collection (or `blobs`) and how much of it is done, from time to time."""


class Backup:
    """Only reads from the stores. Their processes may run meanwhile."""

    def __init__(self, stores: Stores, progress: Progress = lambda name, count: None) -> None:
        self._stores = stores
        self._progress = progress
        self._versions: dict[str, int] = {}
        self._counts: dict[str, int] = {}

    async def write(self, folder: Path) -> Manifest:
        """The folder must not exist. After an error or a kill there is none of this name.

        Raises BackupFault, OSError.
        """
        names = {each.name for each in self._stores.database.collections}
        assert names == {each.name for each in ORDER} | NOT_COPIED, "a collection is not backed up"
        with _aside(folder) as aside:
            manifest = await self._write(aside)
            sync_folder(aside)
            aside.rename(folder)
            sync_folder(folder.parent)
        return manifest

    async def _write(self, folder: Path) -> Manifest:
        started_at, files = datetime.now(UTC), list[BackupFile]()
        for copied in ORDER:
            self._counts[copied.name] = 0
            files += [file async for file in self._copy(folder, copied, started_at)]
        blob_lists = [file async for file in copy_blobs(folder, self._stores.blobs, self._progress)]
        manifest = Manifest(
            format=FORMAT,
            id=new_id("bak"),
            release=VERSION,
            started_at=started_at,
            completed_at=datetime.now(UTC),
            schema_versions=self._versions,
            counts=self._counts,
            files=tuple(files),
            blob_lists=tuple(blob_lists),
        )
        write_manifest(folder, manifest)
        return manifest

    async def _copy(self, folder: Path, copied: Copied, started_at: datetime) -> AsyncIterator[BackupFile]:
        """Bounded in memory: a batch of documents at a time. Bounded in time: what is new is left out."""
        below = id_at(copied.prefix, time.time_ns() // 1_000_000) if copied.prefix is not None else None
        found = batches(self._stores.collection(copied.name), below=below)
        number = 0
        rows: list[Document] = await anext(found, [])
        while rows:
            number += 1
            name = f"{copied.name}-{number:06}.ndjson.gz"
            with LineFile(folder / name) as file:
                while rows and file.lines < MAX_DOCUMENTS and file.bytes < MAX_BYTES:
                    for row in rows:
                        file.add(line_of(self._noted(copied.name, reopened(copied.name, row, started_at))))
                    self._progress(copied.name, self._counts[copied.name])
                    rows = await anext(found, [])
                size, sha256 = file.finish()
            yield BackupFile(name=name, collection=copied.name, documents=file.lines, size=size, sha256=sha256)

    def _noted(self, name: str, row: Document) -> Document:
        self._counts[name] += 1
        if SCHEMA_VERSION in row:
            self._versions[name] = max(self._versions.get(name, 0), row[SCHEMA_VERSION])
        return row


@contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """A folder beside, which this process alone uses. What a killed backup has left there is removed.

    It is removed after an error: a disk that became full has room again.
    """
    if folder.exists():
        raise BackupFault(f"{folder} exists: name a new folder")
    aside = folder.with_name(folder.name + ".partial")
    aside.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(aside, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupFault(f"another backup is writing {aside}: wait for it, or name another folder") from None
        _empty(aside)
        try:
            yield aside
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
    finally:
        os.close(descriptor)


def _empty(folder: Path) -> None:
    for each in folder.iterdir():
        if each.is_dir():
            shutil.rmtree(each)
        else:
            each.unlink()
