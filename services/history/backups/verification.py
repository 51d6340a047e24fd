"""After a restore: the database holds the documents and blobs of the backup, and no others."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Final

from services.history.backups.blob_files import entries_of, is_stored
from services.history.backups.faults import BackupFault
from services.history.backups.files import lines_of
from services.history.backups.manifest import BackupFile, Manifest
from services.history.backups.stores import Stores
from services.history.mongo.collection import Collection
from services.history.mongo.document_lines import document_of
from services.history.mongo.filters import Document
from services.history.mongo.patience import batches, patiently

# Unique values that a document may give up to another one, and can do without.
TAKEN_OVER: Final[dict[str, tuple[str, ...]]] = {
    "agents": ("slug",),
    "sessions": ("clientId",),
    "turns": ("idempotencyKey", "orphan"),
    "sources": ("contentKey",),
}


MayGoOn = Callable[[], Awaitable[None]]
"""Raises BackupFault where nothing may be written any more."""


async def verify(folder: Path, manifest: Manifest, stores: Stores, may_go_on: MayGoOn) -> None:
    """Compares ids, in the order of both. A document that has expired meanwhile may be gone. Raises BackupFault."""
    for name in manifest.counts:
        wanted = _documents(folder, [file for file in manifest.files if file.collection == name])
        await _compare(name, wanted, stores.collection(name), may_go_on)
    for listed in manifest.blob_lists:
        for entry in entries_of(folder, listed):
            if not await patiently(partial(is_stored, entry.blob, stores.blobs)):
                raise BackupFault("a knowledge file is missing after the restore: run the same command again")


async def _compare(name: str, wanted: Iterator[Document], collection: Collection, may_go_on: MayGoOn) -> None:
    missing = foreign = 0
    expected = next(wanted, None)
    async for found in _ids(collection):
        while expected is not None and expected["_id"] < found:
            missing += not await _is_accounted_for(collection, expected, may_go_on)
            expected = next(wanted, None)
        if expected is not None and expected["_id"] == found:
            expected = next(wanted, None)
        else:
            foreign += 1
    for each in chain([expected] if expected else [], wanted):
        missing += not await _is_accounted_for(collection, each, may_go_on)
    if missing:
        raise BackupFault(
            f"{missing} documents of {name} are missing after the restore: drop the database, restore again"
        )
    if foreign:
        raise BackupFault(
            f"{name} has {foreign} documents that are not of the backup: a history has written meanwhile. "
            "Stop every history, drop the database and restore again"
        )


async def _is_accounted_for(collection: Collection, document: Document, may_go_on: MayGoOn) -> bool:
    """It has expired, or is stored without a value that another document has taken over."""
    expires_at = document.get("expiresAt")
    if expires_at is not None and expires_at <= datetime.now(UTC):
        return True
    await may_go_on()
    return await patiently(partial(_stored_beside, collection, document))


async def _stored_beside(collection: Collection, document: Document) -> bool:
    """Two documents may have been copied with one unique value, if it changed hands during the backup.

    The one that is stored first keeps it: what was written last cannot be told.
    """
    for given_up in ("", *TAKEN_OVER.get(collection.name, ())):
        await collection.insert_as_is([{name: value for name, value in document.items() if name != given_up}])
        if await collection.as_stored(document["_id"]) is not None:
            return True
    return False


async def _ids(collection: Collection) -> AsyncIterator[str]:
    async for rows in batches(collection, fields={"_id": 1}):
        for row in rows:
            yield row["_id"]


def _documents(folder: Path, files: list[BackupFile]) -> Iterator[Document]:
    for file in files:
        yield from map(document_of, lines_of(folder / file.name))
