"""Restores a backup into an empty database, and goes on where a restore of the same backup was cut off.

The collection `restores` has a document per restore. While it says `running`, no history serves from this database
(`Database` refuses), so nobody repairs or erases what is not complete. It also names its `holder`: the run that began
last goes on with the restore, and one that still runs ends at its next write. So a killed run is followed at once, and
two runs never write side by side, nor does the slower of them write what a history has erased since.
"""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final
from uuid import uuid4

from services.history.backups.blob_files import BLOBS, has_blobs, restore_blobs
from services.history.backups.examination import examined
from services.history.backups.faults import BackupFault
from services.history.backups.files import lines_of
from services.history.backups.manifest import BackupFile, Manifest
from services.history.backups.stores import Stores
from services.history.backups.verification import verify
from services.history.mongo.document_lines import document_of
from services.history.mongo.errors import Duplicate
from services.history.mongo.filters import Document
from services.history.mongo.patience import patiently

BATCH: Final = 500
BATCH_BYTES: Final = 8 << 20

_FOLLOWED: Final = "another `parley restore` of this backup has begun since and goes on with it: this one has ended"

Progress = Callable[[str, int], None]


class Restore:
    """`reuse_blobs`: the blob store may hold blobs already, because it belonged to the deployment that was lost.

    `examining` is told the progress of the reading before the first write, which takes minutes for a large backup.
    """

    def __init__(
        self,
        stores: Stores,
        *,
        reuse_blobs: bool = False,
        progress: Progress = lambda name, count: None,
        examining: Progress = lambda name, count: None,
    ) -> None:
        self._stores = stores
        self._restores = stores.database.restores
        self._holder = uuid4().hex
        self._reuse_blobs = reuse_blobs
        self._progress = progress
        self._examining = examining

    async def run(self, folder: Path) -> Manifest:
        """May be repeated after an error or a kill. Raises BackupFault before the first write if anything is amiss."""
        manifest = examined(folder, self._examining)
        done = await self._begin(manifest)
        counts = Counter[str]()
        for number, file in enumerate(manifest.files):
            if number >= done:
                await self._restore(folder, file, manifest)
                await self._note(manifest, number + 1)
            counts[file.collection] += file.documents
            self._progress(file.collection, counts[file.collection])
        for number, listed in enumerate(manifest.blob_lists, len(manifest.files)):
            if number >= done:
                await restore_blobs(folder, listed, self._stores.blobs, partial(self._still_holds, manifest))
                await self._note(manifest, number + 1)
            counts[BLOBS] += listed.documents
            self._progress(BLOBS, counts[BLOBS])
        await self._verify(folder, manifest)
        await self._finish(manifest)
        return manifest

    async def _begin(self, manifest: Manifest) -> int:
        """How many files an earlier run has restored. The database is looked at after the mark is set.

        The mark makes a history wait that starts now. One that has started before has left documents.
        """
        own = await self._own(manifest)
        if own is None:
            await self._must_be_empty(manifest)
            row = {"_id": manifest.id, "running": True, "startedAt": datetime.now(UTC)}
            await patiently(lambda: self._insert(row))
        elif not own.get("running"):
            raise BackupFault("this backup was restored into this database already: nothing was written")
        if not await self._hold(manifest):
            return await self._begin(manifest)  # Another run has just ended the restore, or given it up.
        # Read again: a run that held the mark until now may have written something.
        if (own := await self._own(manifest)) is not None and "done" in own:
            return int(own["done"])
        # Also after a kill between the mark and this look: nothing is written before `done` says that it was empty.
        try:
            await self._must_be_empty(manifest)
        except BackupFault:
            await patiently(lambda: self._restores.delete(self._held(manifest)))
            raise
        await self._note(manifest, 0)
        return 0

    async def _own(self, manifest: Manifest) -> Document | None:
        return await patiently(lambda: self._restores.one({"_id": manifest.id}))

    def _held(self, manifest: Manifest) -> Document:
        return {"_id": manifest.id, "holder": self._holder}

    async def _hold(self, manifest: Manifest) -> bool:
        """From now on only this run writes. False: there is nothing to go on with."""
        running, change = {"_id": manifest.id, "running": True}, {"$set": {"holder": self._holder}}
        return await patiently(lambda: self._restores.update(running, change))

    async def _still_holds(self, manifest: Manifest) -> None:
        """Raises BackupFault once another run holds the mark, or has ended the restore."""
        if await patiently(lambda: self._restores.one(self._held(manifest), {"_id": 1})) is None:
            raise BackupFault(_FOLLOWED)

    async def _must_be_empty(self, manifest: Manifest) -> None:
        if (other := await patiently(partial(self._found, manifest.id))) is not None:
            raise BackupFault(other)

    async def _insert(self, row: Document) -> None:
        try:
            await self._restores.insert(row)
        except Duplicate:
            return  # An insert that was repeated.

    async def _found(self, own: str) -> str | None:
        """What stands against this restore. None: nothing."""
        for collection in self._stores.database.collections:
            if collection is not self._restores and await collection.many({}, fields={"_id": 1}, limit=1):
                return (
                    f"the database is not empty (it has {collection.name}): stop every history, then drop the database "
                    "or name another one by PARLEY_MONGODB_DATABASE"
                )
        others = await self._restores.many({}, fields={"running": 1}, limit=20)
        if any(row["_id"] != own and row.get("running") for row in others):
            return "another backup is being restored into this database: go on with that one, or drop the database"
        if not self._reuse_blobs and await has_blobs(self._stores.blobs):
            return (
                "the store of knowledge files is not empty: name an empty bucket or prefix. If it belonged to the "
                "deployment that was lost and to nobody else, add --reuse-blobs"
            )
        return None

    async def _restore(self, folder: Path, file: BackupFile, manifest: Manifest) -> None:
        collection = self._stores.collection(file.collection)
        batch: list[Document] = []
        size = 0

        async def write() -> None:
            await self._still_holds(manifest)
            await patiently(partial(collection.insert_as_is, batch))

        for line in lines_of(folder / file.name):
            batch.append(document_of(line))
            size += len(line)
            if len(batch) == BATCH or size > BATCH_BYTES:
                await write()
                batch, size = [], 0
        await write()

    async def _verify(self, folder: Path, manifest: Manifest) -> None:
        try:
            await verify(folder, manifest, self._stores, partial(self._still_holds, manifest))
        except BackupFault:
            await self._still_holds(manifest)  # Else a history may serve already, and differ from the backup.
            raise

    async def _note(self, manifest: Manifest, done: int) -> None:
        if not await patiently(lambda: self._restores.update(self._held(manifest), {"$max": {"done": done}})):
            raise BackupFault(_FOLLOWED)

    async def _finish(self, manifest: Manifest) -> None:
        """`holder` stays: a repeated write must find what it wrote."""
        change = {"$set": {"completedAt": datetime.now(UTC)}, "$unset": {"running": ""}}
        if not await patiently(lambda: self._restores.update(self._held(manifest), change)):
            raise BackupFault(_FOLLOWED)
