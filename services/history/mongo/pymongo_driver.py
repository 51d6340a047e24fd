"""PyMongo's own asynchronous client as the driver: it works in the event loop, without threads."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from bson.codec_options import CodecOptions
from gridfs.asynchronous import AsyncGridFSBucket
from pymongo import AsyncMongoClient
from pymongo.monitoring import CommandListener
from pymongo.topology_description import TopologyDescription

from services.history.mongo.driver import Bucket, DriverCollection, client_options
from services.history.mongo.filters import Document

# Without a bound a hundred writers of one document conflicted with each other, and with the time limit of each. Motor
# has as many threads on a machine with two cores.
OPERATIONS: Final = 10


class PyMongoDriver:
    """See Driver."""

    def __init__(self, uri: str, database: str, listeners: Sequence[CommandListener]) -> None:
        self._client: AsyncMongoClient[Document] = AsyncMongoClient(uri, **client_options(listeners))
        self._operations = asyncio.Semaphore(OPERATIONS)
        self._database = self._client.get_database(database, codec_options=CodecOptions(tz_aware=True))

    @property
    def operations(self) -> asyncio.Semaphore:
        return self._operations

    @property
    def topology(self) -> TopologyDescription:
        return self._client.topology_description

    def collection(self, name: str) -> DriverCollection:
        return cast("DriverCollection", self._database.get_collection(name))

    def bucket(self, name: str, chunk_size: int) -> Bucket:
        bucket = AsyncGridFSBucket(self._database, bucket_name=name, chunk_size_bytes=chunk_size)
        return cast("Bucket", bucket)

    async def command(self, name: str) -> Mapping[str, Any]:
        return await self._client.admin.command(name)

    async def aggregate(self, collection: str, pipeline: Sequence[Mapping[str, Any]]) -> list[Document]:
        return await (await self._database.get_collection(collection).aggregate(pipeline)).to_list(None)

    async def close(self) -> None:
        await self._client.close()
