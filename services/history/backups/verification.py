"""After a restore: the database holds the documents and blobs of the backup, and no others."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path

from services.history.backups.blob_files import entries_of, is_stored
from services.history.backups.faults import BackupFault
from services.history.backups.files import lines_of
from services.history.backups.manifest import BackupFile, Manifest
from services.history.backups.stores import Stores
from services.history.mongo.collection import Collection
from services.history.mongo.document_lines import document_of
from services.history.mongo.filters import Document
from services.history.mongo.patience import batches, patiently


async def verify(folder: Path, manifest: Manifest, stores: Stores) -> None:
    """Compares ids, in the order of both. A document that has expired meanwhile may be gone. Raises BackupFault."""
    for name in manifest.counts:
        wanted = _documents(folder, [file for file in manifest.files if file.collection == name])
        await _compare(name, wanted, stores.collection(name))
    for listed in manifest.blob_lists:
        for entry in entries_of(folder, listed):
            if not await patiently(partial(is_stored, entry.blob, stores.blobs)):
                raise BackupFault("a knowledge file is missing after the restore: run the same command again")


async def _compare(name: str, wanted: Iterator[Document], collection: Collection) -> None:
    missing = foreign = 0
    expected = next(wanted, None)
    async for found in _ids(collection):
        while expected is not None and expected["_id"] < found:
            missing += not _has_expired(expected)
            expected = next(wanted, None)
        if expected is not None and expected["_id"] == found:
            expected = next(wanted, None)
        else:
            foreign += 1
    missing += sum(not _has_expired(each) for each in chain([expected] if expected else [], wanted))
    if missing:
        raise BackupFault(
            f"{missing} documents of {name} are missing after the restore: drop the database, restore again"
        )
    if foreign:
        raise BackupFault(
            f"{name} has {foreign} documents that are not of the backup: a history has written meanwhile. "
            "Stop every history, drop the database and restore again"
        )


async def _ids(collection: Collection) -> AsyncIterator[str]:
    async for rows in batches(collection, fields={"_id": 1}):
        for row in rows:
            yield row["_id"]


def _documents(folder: Path, files: list[BackupFile]) -> Iterator[Document]:
    for file in files:
        yield from map(document_of, lines_of(folder / file.name))


def _has_expired(document: Document) -> bool:
    at = document.get("expiresAt")
    return at is not None and bool(at <= datetime.now(UTC))
