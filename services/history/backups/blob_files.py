"""Blobs in a backup: a file each, below `blobs/`, and lists that tell their digests."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

import orjson

from services.history.backups.faults import BackupFault
from services.history.backups.files import LineFile, Sum, lines_of, pieces_of, sync_folder, write_blob
from services.history.backups.manifest import BackupFile, BlobFile
from services.history.knowledge.blobs import BlobStore
from services.history.mongo.patience import patiently
from shared.contracts.errors import ApiError, Code

BLOBS: Final = "blobs"
PAGE: Final = 200
# Files of one folder: more than a file system likes make its listing slow.
PER_FOLDER: Final = 1000
_LISTS: Final = "blobs-{:06}.ndjson.gz"
# Above the time of every upload, whatever the store's clock says.
_ANY_TIME: Final = timedelta(days=365)


async def copy_blobs(folder: Path, blobs: BlobStore, progress: Callable[[str, int], None]) -> AsyncIterator[BackupFile]:
    """Every blob that the store has. One that is erased meanwhile is left out. Raises OSError, NoAnswer."""
    count = 0
    async for ids in _ids(blobs):
        number = count // PER_FOLDER + 1
        below = folder / BLOBS / f"{number:06}"
        below.mkdir(parents=True, exist_ok=True)
        name = _LISTS.format(count // PAGE + 1)
        with LineFile(folder / name) as listed:
            for blob_id in ids:
                count += 1
                path = below / f"{count:09}"
                if (kept := await _copy(path, blobs, blob_id)) is not None:
                    entry = BlobFile(
                        name=str(path.relative_to(folder)), blob=blob_id, size=kept.size, sha256=kept.sha256
                    )
                    listed.add(orjson.dumps(entry.wire()) + b"\n")
            size, sha256 = listed.finish()
        sync_folder(below)
        progress(BLOBS, count)
        yield BackupFile(name=name, collection=BLOBS, documents=listed.lines, size=size, sha256=sha256)
    if count:
        sync_folder(folder / BLOBS)


async def _ids(blobs: BlobStore) -> AsyncIterator[list[str]]:
    after, before = "", datetime.now(UTC) + _ANY_TIME
    while ids := await patiently(partial(blobs.older_than, before, after, PAGE)):
        yield ids
        after = ids[-1]


async def has_blobs(blobs: BlobStore) -> bool:
    return bool(await blobs.older_than(datetime.now(UTC) + _ANY_TIME, "", 1))


async def _copy(path: Path, blobs: BlobStore, blob_id: str) -> Sum | None:
    """None: it is gone."""

    async def once() -> Sum:
        return await write_blob(path, blobs.read(blob_id))

    try:
        return await patiently(once)
    except ApiError as error:
        if error.code is not Code.NOT_FOUND:
            raise
        return None


def entries_of(folder: Path, listed: BackupFile) -> list[BlobFile]:
    """At most a page of them. Raises BackupFault."""
    try:
        return [BlobFile.model_validate_json(line) for line in lines_of(folder / listed.name)]
    except ValueError:
        raise BackupFault(f"{folder / listed.name} is damaged: take another copy of this backup") from None


async def restore_blobs(
    folder: Path, listed: BackupFile, blobs: BlobStore, may_go_on: Callable[[], Awaitable[None]]
) -> None:
    """Stores those that are not there. May be repeated. Raises BackupFault, also for `may_go_on`, asked before each."""
    for entry in entries_of(folder, listed):
        await may_go_on()
        await patiently(partial(_restore, folder, entry, blobs))


async def _restore(folder: Path, entry: BlobFile, blobs: BlobStore) -> None:
    if await is_stored(entry.blob, blobs):
        return
    await blobs.delete(entry.blob)  # What an upload that was cut off has left.

    async def content() -> AsyncIterator[bytes]:
        for piece in pieces_of(folder / entry.name):
            yield piece

    await blobs.put(entry.blob, content())


async def is_stored(blob_id: str, blobs: BlobStore) -> bool:
    """A blob exists once all of it is stored."""
    pieces = blobs.read(blob_id)
    try:
        await anext(pieces, b"")
    except ApiError as error:
        if error.code is not Code.NOT_FOUND:
            raise
        return False
    finally:
        await pieces.aclose()  # type: ignore[attr-defined]
    return True
