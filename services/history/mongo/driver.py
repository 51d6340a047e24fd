"""What history needs of a MongoDB driver. Motor and PyMongo's own asynchronous client both have it.

Their methods have the same names, arguments and results. Where they differ, each has a file that makes them equal.
"""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final, Literal, Protocol, Self

from pymongo.monitoring import CommandListener
from pymongo.topology_description import TopologyDescription

from services.history.mongo.filters import Document

DriverName = Literal["motor", "pymongo"]
# How long an operation waits for a server that takes it.
SELECTION_TIMEOUT_S: Final = 0.6
# How long an operation may take, with its repetition by the driver.
CALL_TIMEOUT_S: Final = 5.0


class Rows(Protocol):
    """A cursor. Nothing is sent before `to_list`."""

    def sort(self, order: Any, direction: int = ..., /) -> Self: ...

    def limit(self, limit: int, /) -> Self: ...

    def to_list(self, length: int | None = None) -> Awaitable[list[Document]]: ...

    def close(self) -> Awaitable[None]: ...


class DriverCollection(Protocol):
    """A collection as the drivers have it. Every method raises PyMongoError."""

    @property
    def name(self) -> str: ...

    def find(self, *args: Any, **options: Any) -> Rows: ...

    def find_one(self, *args: Any, **options: Any) -> Awaitable[Document | None]: ...

    def insert_one(self, document: Document) -> Awaitable[Any]: ...

    def insert_many(self, documents: Sequence[Document], ordered: bool = ...) -> Awaitable[Any]: ...

    def update_one(self, query: Document, change: Document) -> Awaitable[Any]: ...

    def update_many(self, query: Document, change: Document) -> Awaitable[Any]: ...

    def count_documents(self, query: Document, *, limit: int) -> Awaitable[int]: ...

    def bulk_write(self, writes: Sequence[Any], ordered: bool = ...) -> Awaitable[Any]: ...

    def delete_one(self, query: Document) -> Awaitable[Any]: ...

    def delete_many(self, query: Document) -> Awaitable[Any]: ...

    def create_indexes(self, indexes: Sequence[Any]) -> Awaitable[list[str]]: ...

    def drop_index(self, name: str) -> Awaitable[None]: ...

    def index_information(self) -> Awaitable[Mapping[str, Any]]: ...

    def create_search_index(self, model: Any) -> Awaitable[str]: ...


class Upload(Protocol):
    def write(self, content: bytes) -> Awaitable[None]: ...

    def close(self) -> Awaitable[None]: ...

    def abort(self) -> Awaitable[None]: ...


class Download(Protocol):
    def readchunk(self) -> Awaitable[bytes]: ...


class Bucket(Protocol):
    """A bucket of GridFS."""

    def open_upload_stream_with_id(self, file_id: Any, filename: str) -> Upload: ...

    def open_download_stream(self, file_id: Any) -> Awaitable[Download]:
        """Raises NoFile."""


class Driver(Protocol):
    """One client, and one database of it. Making it connects to nothing; its first operation does."""

    @property
    def operations(self) -> asyncio.Semaphore | None:
        """Bounds what runs at once; the time of those that wait does not begin. None: the driver has its own bound."""

    @property
    def topology(self) -> TopologyDescription:
        """What the driver knows of the servers now."""

    def collection(self, name: str) -> DriverCollection: ...

    def bucket(self, name: str, chunk_size: int) -> Bucket: ...

    async def command(self, name: str) -> Mapping[str, Any]:
        """A command of the database `admin`."""

    async def aggregate(self, collection: str, pipeline: Sequence[Mapping[str, Any]]) -> list[Document]: ...

    async def close(self) -> None: ...


def client_options(listeners: Sequence[CommandListener]) -> dict[str, Any]:
    """Options of both drivers' clients. They prevail over those of the connection string."""
    return {
        "w": "majority",
        "journal": True,
        "readConcernLevel": "majority",
        "readPreference": "primary",
        "serverSelectionTimeoutMS": int(SELECTION_TIMEOUT_S * 1000),
        "connectTimeoutMS": 1000,
        "heartbeatFrequencyMS": 1000,
        "timeoutMS": int(CALL_TIMEOUT_S * 1000),
        "appname": "parley-history",
        "event_listeners": list(listeners),
    }
