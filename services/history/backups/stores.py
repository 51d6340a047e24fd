"""What a backup is made of and restored into: the database and the blob store, opened by a command."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from services.history.knowledge.blobs import BlobStore
from services.history.mongo.client import Database
from services.history.mongo.collection import Collection
from services.history.mongo.patience import patiently


class Stores(NamedTuple):
    database: Database
    blobs: BlobStore

    def collection(self, name: str) -> Collection:
        return next(each for each in self.database.collections if each.name == name)


@asynccontextmanager
async def opened(database: Database, blobs: BlobStore) -> AsyncIterator[Stores]:
    """Waits until the database can be used. Raises NoAnswer."""
    async with database:
        await patiently(database.ping)
        yield Stores(database, blobs)
