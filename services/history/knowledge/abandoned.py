"""What a killed process left of knowledge without a name: uploads, late passages and vectors. Erased some time later.

Everything is read before what may name it, because each is named before or right after it is stored.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from services.history.knowledge.blobs import BlobStore, source_of_blob
from services.history.knowledge.passages import Passages
from services.history.knowledge.readings import Readings
from services.history.knowledge.vector_rows import VectorRows
from services.history.knowledge.version_indexes import VersionIndexes, is_index_blob
from services.history.mongo.client import Database

PAGE: Final = 100
# An upload takes at most some minutes; then its source refers to it.
ABANDONED: Final = timedelta(hours=1)
LOOK_EVERY: Final = timedelta(minutes=10)


class AbandonedKnowledge:
    def __init__(
        self, database: Database, passages: Passages, blobs: BlobStore, indexes: VersionIndexes, vectors: VectorRows
    ) -> None:
        self._sources = database.sources
        self._readings = Readings(database)
        self._passages = passages
        self._blobs = blobs
        self._indexes = indexes
        self._vectors = vectors
        self._from = datetime.now(UTC) + LOOK_EVERY

    async def reconcile(self) -> None:
        """Looks once in a while."""
        if datetime.now(UTC) > self._from:
            self._from = datetime.now(UTC) + LOOK_EVERY
            await self.erase(datetime.now(UTC) - ABANDONED)

    async def erase(self, before: datetime) -> None:
        """Uploads that are older, and all passages and vectors that nothing names. May be repeated."""
        await self._erase_blobs(before)
        async for blob_id in self._blobs.cut_off(before):
            await self._blobs.delete(blob_id)
        await self._erase_passages()
        await self._vectors.erase_abandoned()

    async def _erase_blobs(self, before: datetime) -> None:
        after = ""
        while ids := await self._blobs.older_than(before, after, PAGE):
            for blob_id in ids:
                if is_index_blob(blob_id):
                    await self._indexes.erase_abandoned(blob_id)
                elif not await self._has_source(blob_id):
                    await self._blobs.delete(blob_id)
            after = ids[-1]

    async def _has_source(self, blob_id: str) -> bool:
        workspace, source_id = source_of_blob(blob_id)
        return await self._sources.one({"_id": source_id, "workspace": workspace}, {"_id": 1}) is not None

    async def _erase_passages(self) -> None:
        """A batch that came after its reading was erased: the worker had lost its lease, or the source was deleted."""
        after = ""
        while owners := await self._passages.owners(after):
            for owner in await self._readings.unnamed(owners):
                await self._passages.erase(owner)
            after = owners[-1]
