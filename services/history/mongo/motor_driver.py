"""Motor as the driver: PyMongo's blocking client in threads. Motor is no longer developed; nothing else imports it."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from bson.codec_options import CodecOptions
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorGridFSBucket
from pymongo.monitoring import CommandListener
from pymongo.topology_description import TopologyDescription

from services.history.mongo.driver import Bucket, DriverCollection, client_options
from services.history.mongo.filters import Document


class MotorDriver:
    """See Driver."""

    def __init__(self, uri: str, database: str, listeners: Sequence[CommandListener]) -> None:
        self._client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(uri, **client_options(listeners))
        self._database = self._client.get_database(database, codec_options=CodecOptions(tz_aware=True))

    @property
    def operations(self) -> None:
        """Motor's threads are five for each core."""

    @property
    def topology(self) -> TopologyDescription:
        # Motor's stubs declare this property as a method.
        return cast("TopologyDescription", self._client.topology_description)

    def collection(self, name: str) -> DriverCollection:
        return cast("DriverCollection", self._database.get_collection(name))

    def bucket(self, name: str, chunk_size: int) -> Bucket:
        bucket = AsyncIOMotorGridFSBucket(self._database, bucket_name=name, chunk_size_bytes=chunk_size)
        return cast("Bucket", bucket)

    async def command(self, name: str) -> Mapping[str, Any]:
        return await self._client.admin.command(name)

    async def aggregate(self, collection: str, pipeline: Sequence[Mapping[str, Any]]) -> list[Document]:
        return await self._database.get_collection(collection).aggregate(pipeline).to_list(None)

    async def close(self) -> None:
        self._client.close()
