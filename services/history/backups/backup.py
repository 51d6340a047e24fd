"""Writes a backup: a folder that gets its name once all of it is on the disk."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from services.history.backups.aside import aside
from services.history.backups.billing import CopiedLedger
from services.history.backups.blob_files import copy_blobs
from services.history.backups.erasure_watch import ErasureWatch
from services.history.backups.faults import BackupFault
from services.history.backups.files import LineFile, lines_of, sync_folder
from services.history.backups.manifest import FORMAT, BackupFile, Manifest, write_manifest
from services.history.backups.order import NOT_COPIED, ORDER, Copied, reopened
from services.history.backups.source_copies import NewSources, joined
from services.history.backups.stores import Stores
from services.history.mongo.document_lines import document_of, line_of
from services.history.mongo.filters import Document
from services.history.mongo.migrations import STEPS
from services.history.mongo.migrations import VERSION as SCHEMA_VERSION
from services.history.mongo.patience import batches
from shared.ids import new_id
from shared.version import VERSION

MAX_DOCUMENTS: Final = 20_000
MAX_BYTES: Final = 64 << 20
SOURCES: Final = "sources"
PASSAGES: Final = "passages"
TURNS: Final = "turns"
ERASURES: Final = "end_user_erasures"

# Kinds of sources whose bytes are in the blob store for as long as they exist.
STORED: Final = frozenset({"text", "faq", "file"})
NO_FILES: Final = (
    "the database names knowledge files and their store has none: set the PARLEY_S3_* variables as history has them. "
    "If the files are lost, delete those sources first"
)

Progress = Callable[[str, int], None]
"""Is told a collection (or `blobs`) and how much of it is done, from time to time."""


class Backup:
    """Only reads from the stores. Their processes may run meanwhile. One backup each."""

    def __init__(self, stores: Stores, progress: Progress = lambda name, count: None) -> None:
        self._stores = stores
        self._progress = progress
        self._versions: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        self._started_at = datetime.now(UTC)
        self._ledger = CopiedLedger(self._started_at)
        self._erasures = ErasureWatch(stores.database.end_user_erasures)
        self._running: dict[tuple[str, str], int] = {}
        self._new_sources: NewSources | None = None
        self._has_files = False

    async def write(self, folder: Path) -> Manifest:
        """The folder must not exist. After an error or a kill there is none of this name.

        Raises BackupFault, NoAnswer, OSError.
        """
        names = {each.name for each in self._stores.database.collections}
        assert names == {each.name for each in ORDER} | NOT_COPIED, "a collection is not backed up"
        with aside(folder) as partial:
            async with self._erasures:
                files = [file async for file in self._copies(partial)]
            blob_lists = [file async for file in copy_blobs(partial, self._stores.blobs, self._progress)]
            files += [file async for file in self._sources(partial)]
            if self._has_files and not any(listed.documents for listed in blob_lists):
                raise BackupFault(NO_FILES)
            manifest = self._manifest(files, blob_lists)
            write_manifest(partial, manifest)
            sync_folder(partial)
            partial.rename(folder)
            sync_folder(folder.parent)
        return manifest

    async def _copies(self, folder: Path) -> AsyncIterator[BackupFile]:
        for copied in ORDER:
            if copied.name == SOURCES:
                await self._set_aside(folder, copied)
            else:
                rows = self._rows(copied)
                async for file in self._files(folder, copied.name, rows):
                    yield file

    def _manifest(self, files: list[BackupFile], blob_lists: list[BackupFile]) -> Manifest:
        return Manifest(
            format=FORMAT,
            id=new_id("bak"),
            release=VERSION,
            started_at=self._started_at,
            completed_at=datetime.now(UTC),
            schema_versions=self._versions,
            counts=self._counts,
            files=tuple(files),
            blob_lists=tuple(blob_lists),
        )

    async def _rows(self, copied: Copied) -> AsyncIterator[list[Document]]:
        """Bounded in memory: a batch at a time. Bounded in time: what is new is left out."""
        below = copied.below(datetime.now(UTC))
        async for rows in batches(self._stores.collection(copied.name), below=below):
            self._ledger.note(copied.name, rows)
            yield [self._as_copied(copied.name, row) for row in rows if not self._is_new(copied.name, row)]

    def _as_copied(self, name: str, row: Document) -> Document:
        if name == TURNS:
            return self._ledger.as_copied(row)
        if name == ERASURES:
            return self._erasures.as_copied(row)
        return reopened(name, row, self._started_at)

    def _is_new(self, name: str, row: Document) -> bool:
        """Whether it has no place beside what was copied before."""
        if name == PASSAGES:
            return self._new_sources is not None and self._new_sources.has(row["_id"])
        if name == ERASURES:
            return self._erasures.is_new(row)
        if name != TURNS or row.get("sessionId") is None:
            return False
        # A session has one active turn. The next one began after the copied one had ended. Ids do not tell which is the
        # next one: two gateways made them, whose clocks differ.
        session = row["workspace"], row["sessionId"]
        if row["active"]:
            return bool(row["n"] > self._running.setdefault(session, row["n"]))
        return bool(row["n"] > self._running.get(session, row["n"]))

    async def _files(self, folder: Path, name: str, found: AsyncIterator[list[Document]]) -> AsyncIterator[BackupFile]:
        self._counts[name], number = 0, 0
        rows: list[Document] | None = await anext(found, None)
        while rows is not None:
            number += 1
            path = folder / f"{name}-{number:06}.ndjson.gz"
            with LineFile(path) as file:
                while rows is not None and file.lines < MAX_DOCUMENTS and file.bytes < MAX_BYTES:
                    for row in rows:
                        file.add(line_of(row))
                        self._note(name, row)
                    self._progress(name, self._counts[name])
                    rows = await anext(found, None)
                size, sha256 = file.finish()
            yield BackupFile(name=path.name, collection=name, documents=file.lines, size=size, sha256=sha256)

    def _note(self, name: str, row: Document) -> None:
        self._counts[name] += 1
        version = row.get(SCHEMA_VERSION, 0)
        if version > (known := len(STEPS.get(name, ()))):
            raise BackupFault(
                f"the database holds {name} of schema version {version} and this release writes {known}: back it up "
                "with the release that its history runs"
            )
        if name == SOURCES and row.get("kind") in STORED and not row.get("removed"):
            self._has_files = True
        self._versions[name] = max(self._versions.get(name, 0), version)

    async def _set_aside(self, folder: Path, copied: Copied) -> None:
        self._new_sources = new = NewSources(datetime.now(UTC))
        with LineFile(_first(folder)) as file:
            async for rows in self._rows(copied):
                new.note(rows)
                for row in rows:
                    file.add(line_of(row))
            file.finish()

    async def _sources(self, folder: Path) -> AsyncIterator[BackupFile]:
        """The sources that were set aside, beside what has become of them since."""
        last = batches(self._stores.collection(SOURCES))
        first = map(document_of, lines_of(_first(folder)))
        async for file in self._files(folder, SOURCES, joined(first, last)):
            yield file
        _first(folder).unlink()


def _first(folder: Path) -> Path:
    return folder / "sources-first.ndjson.gz"
