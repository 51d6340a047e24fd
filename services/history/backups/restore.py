"""Restores a backup into an empty database, and goes on where a restore of the same backup was cut off.

The collection `restores` has a document per restore. While it says `running`, no history serves from this database
(`Database` refuses), so nobody repairs or erases what is not complete.
"""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

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
                await self._restore(folder, file)
                await self._note(manifest, number + 1)
            counts[file.collection] += file.documents
            self._progress(file.collection, counts[file.collection])
        for number, listed in enumerate(manifest.blob_lists, len(manifest.files)):
            if number >= done:
                await restore_blobs(folder, listed, self._stores.blobs)
                await self._note(manifest, number + 1)
            counts[BLOBS] += listed.documents
            self._progress(BLOBS, counts[BLOBS])
        await verify(folder, manifest, self._stores)
        await self._finish(manifest)
        return manifest

    async def _begin(self, manifest: Manifest) -> int:
        """How many files an earlier run has restored. The database is looked at after the mark is set.

        The mark makes a history wait that starts now. One that has started before has left documents.
        """
        own = await patiently(lambda: self._restores.one({"_id": manifest.id}))
        if own is not None and not own.get("running"):
            raise BackupFault("this backup was restored into this database already: nothing was written")
        if own is not None and "done" in own:
            return int(own["done"])
        if own is None:
            await self._must_be_empty(manifest)
            row = {"_id": manifest.id, "running": True, "startedAt": datetime.now(UTC)}
            await patiently(lambda: self._insert(row))
        # Also after a kill between the mark and this look: nothing is written before `done` says that it was empty.
        try:
            await self._must_be_empty(manifest)
        except BackupFault:
            await patiently(lambda: self._restores.delete({"_id": manifest.id}))
            raise
        await self._note(manifest, 0)
        return 0

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

    async def _restore(self, folder: Path, file: BackupFile) -> None:
        collection = self._stores.collection(file.collection)
        batch: list[Document] = []
        size = 0
        for line in lines_of(folder / file.name):
            batch.append(document_of(line))
            size += len(line)
            if len(batch) == BATCH or size > BATCH_BYTES:
                await patiently(partial(collection.insert_as_is, batch))
                batch, size = [], 0
        await patiently(partial(collection.insert_as_is, batch))

    async def _note(self, manifest: Manifest, done: int) -> None:
        await patiently(lambda: self._restores.update({"_id": manifest.id}, {"$max": {"done": done}}))

    async def _finish(self, manifest: Manifest) -> None:
        change = {"$set": {"completedAt": datetime.now(UTC)}, "$unset": {"running": ""}}
        await patiently(lambda: self._restores.update({"_id": manifest.id}, change))
