"""Blobs in MongoDB's GridFS: the default blob store."""

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Final

from bson import ObjectId
from gridfs.errors import NoFile

from services.history.mongo.availability import Availability
from services.history.mongo.driver import Download, Driver
from shared.contracts.errors import ApiError, Code

CHUNK: Final = 1 << 20
PAGE: Final = 500


class GridFsBlobs:
    """See BlobStore. A blob exists once its upload is complete."""

    def __init__(self, availability: Availability, driver: Driver) -> None:
        self._run = partial(availability.run, kind="blob")
        self._files = driver.collection("blobs.files")
        self._chunks = driver.collection("blobs.chunks")
        self._bucket = driver.bucket("blobs", CHUNK)

    async def put(self, blob_id: str, content: AsyncIterator[bytes]) -> None:
        upload = self._bucket.open_upload_stream_with_id(blob_id, blob_id)
        try:
            async for piece in content:
                await self._run(lambda piece=piece: upload.write(piece))  # type: ignore[misc]
            await self._run(upload.close)
        except BaseException:
            with suppress(Exception):
                await self._run(upload.abort)
            raise

    async def read(self, blob_id: str) -> AsyncIterator[bytes]:
        download = await self._run(lambda: self._opened(blob_id))
        if download is None:
            raise ApiError(Code.NOT_FOUND, "The content has been erased.")
        while piece := await self._run(download.readchunk):
            yield piece

    async def _opened(self, blob_id: str) -> Download | None:
        """`run` would take the driver's NoFile for an outage."""
        try:
            return await self._bucket.open_download_stream(blob_id)
        except NoFile:
            return None

    async def delete(self, blob_id: str) -> None:
        await self._run(lambda: self._chunks.delete_many({"files_id": blob_id}))
        await self._run(lambda: self._files.delete_one({"_id": blob_id}))

    async def of_workspace(self, workspace: str, limit: int) -> list[str]:
        ids = {"$gte": f"{workspace}:", "$lt": f"{workspace};"}
        files = self._files.find({"_id": ids}, {"_id": 1}).limit(limit)
        chunks = self._chunks.find({"files_id": ids}, {"files_id": 1}).limit(limit)
        found = [row["_id"] for row in await self._run(lambda: files.to_list(None))]
        return list({*found, *(row["files_id"] for row in await self._run(lambda: chunks.to_list(None)))})

    async def older_than(self, moment: datetime, after: str, limit: int) -> list[str]:
        query = {"_id": {"$gt": after}, "uploadDate": {"$lt": moment}}
        cursor = self._files.find(query, {"_id": 1}).sort("_id", 1).limit(limit)
        return [row["_id"] for row in await self._run(lambda: cursor.to_list(None))]

    async def cut_off(self, moment: datetime) -> AsyncIterator[str]:
        """Chunks without a file: the file's document is written last."""
        after = ""
        while ids := await self._chunk_owners(after):
            there = self._files.find({"_id": {"$in": ids}}, {"_id": 1})
            complete = {row["_id"] for row in await self._run(lambda there=there: there.to_list(None))}  # type: ignore[misc]
            for blob_id in ids:
                if blob_id not in complete and await self._is_older(blob_id, moment):
                    yield blob_id
            after = ids[-1]

    async def _chunk_owners(self, after: str) -> list[str]:
        """The blobs above `after` of which there are chunks, in the order of their ids: those of one page."""
        # The driver's index has these members, so no chunk is read.
        order = [("files_id", 1), ("n", 1)]
        cursor = self._chunks.find({"files_id": {"$gt": after}}, {"_id": 0, "files_id": 1}).sort(order).limit(PAGE)
        return list(dict.fromkeys(row["files_id"] for row in await self._run(lambda: cursor.to_list(None))))

    async def _is_older(self, blob_id: str, moment: datetime) -> bool:
        """Whether no chunk was written since: an id of the driver's begins with its second."""
        young = {"files_id": blob_id, "_id": {"$gte": ObjectId.from_datetime(moment)}}
        return await self._run(lambda: self._chunks.find_one(young, {"_id": 1})) is None
