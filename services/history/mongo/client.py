"""The only door to MongoDB: collections and their indexes, writes that may be repeated, and one place where its errors become ours.

Nothing here knows the rules of sessions or turns.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar
from datetime import datetime
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeVar, cast

import pymongo
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorCollection
from pymongo import IndexModel
from pymongo.errors import BulkWriteError, DocumentTooLarge, DuplicateKeyError, OperationFailure, PyMongoError
from pymongo.topology_description import TopologyDescription

from shared.contracts.errors import ApiError, Code
from shared.log import get_logger
from shared.tasks import end_tasks

log = get_logger()

T = TypeVar("T")
Document = dict[str, Any]
Fields = Mapping[str, int]
Order = Sequence[tuple[str, int]]

SELECTION_TIMEOUT_S: Final = 0.6
CALL_TIMEOUT_S: Final = 5.0
WATCH_S: Final = 0.1
_DUPLICATE_KEY: Final = 11000
# BSONObjectTooLarge and its relatives: the same document would be refused again.
_TOO_LARGE: Final = frozenset({10334, 17419, 17420})


class Duplicate(Exception):
    """A unique index has the document, or one that excludes it."""


class Unstorable(Exception):
    """The document can never be stored as it is: too large, or not to be encoded."""


class Op(NamedTuple):
    """A comparison in a filter. Only these may bring an operator into a query; what a caller sent is always compared as a value."""

    terms: dict[str, Any]


def above(value: Any) -> Op:
    return Op({"$gt": value})


def up_to(value: Any) -> Op:
    return Op({"$lte": value})


def between(low: Any, high: Any) -> Op:
    """From `low` on, below `high`."""
    return Op({"$gte": low, "$lt": high})


def one_of(values: Sequence[str]) -> Op:
    return Op({"$in": list(values)})


def all_of(values: Sequence[str]) -> Op:
    """Of a list in the document: it holds each of these."""
    return Op({"$all": list(values)})


def present() -> Op:
    return Op({"$exists": True})


def _query(where: Mapping[str, Any]) -> Document:
    """Plain values stay plain, because they are checked here: the stand-in uses no compound index for an explicit `$eq`."""
    query: Document = {}
    for name, value in where.items():
        if isinstance(value, Op):
            query[name] = value.terms
        elif value is None or isinstance(value, (str, int, float, bool, datetime)):
            query[name] = value
        else:
            raise TypeError(f"{name}: a filter compares scalars, not {type(value).__name__}")
    return query


def _index(*keys: str, unique: bool = False, only: Document | None = None, **options: Any) -> IndexModel:
    if only is not None:
        options["partialFilterExpression"] = only
    return IndexModel([(key, pymongo.ASCENDING) for key in keys], unique=unique, **options)


# `{"$gt": ""}` means "is there": unlike `$exists` it is recognised by the stand-in's planner too, so that reads use these indexes.
_THERE: Final = {"$gt": ""}

INDEXES: Final[dict[str, list[IndexModel]]] = {
    "sessions": [
        # `_id` again as `id`: with it in the index a page is a bounded range on every server.
        _index("workspace", "id", unique=True),
        _index("workspace", "agentId", "id"),
        _index("erasing", only={"erasing": True}),
    ],
    "turns": [
        _index(
            "workspace",
            "sessionId",
            unique=True,
            only={"active": True, "sessionId": _THERE},
            name="one_active_per_session",
        ),
        _index("workspace", "sessionId", "n", unique=True, only={"sessionId": _THERE}),
        _index("workspace", "scope", "idempotencyKey", unique=True, only={"idempotencyKey": _THERE}),
        _index("workspace", "retryKey", "_id", only={"retryKey": _THERE}),
        _index("workspace", "orphan", unique=True, only={"orphan": _THERE}),
        _index("workspace", "storedId", only={"storedId": _THERE}),
        _index("active", "_id", only={"active": True}),
        _index("erasable", "endedAt", only={"erasable": True}),
        _index("expiresAt", expireAfterSeconds=0),
    ],
    "agents": [_index("workspace")],
    "agent_versions": [_index("agent", "number", unique=True)],
    "passages": [_index("version", "position", unique=True)],
    "keys": [_index("digest", unique=True), _index("workspace")],
}


class Documents:
    """One collection. Every call raises ApiError(`dependency_unavailable`) while MongoDB is away, within a second of its loss."""

    def __init__(self, store: "Store", collection: "AsyncIOMotorCollection[Document]") -> None:
        self._store = store
        self._collection = collection

    async def insert(self, document: Document) -> None:
        """Durable when it returns. Raises Duplicate, Unstorable. Ids are the caller's, so a repeat meets its own document."""
        await self._store.call(lambda: self._collection.insert_one(document))

    async def insert_all(self, documents: Sequence[Document]) -> None:
        """Those that are there already are left as they are. Raises Unstorable."""
        if documents:
            with suppress(Duplicate):
                await self._store.call(lambda: self._collection.insert_many(documents, ordered=False))

    async def one(self, where: Mapping[str, Any], fields: Fields | None = None) -> Document | None:
        """With an `_id` the rest is compared here: a server finds a document faster by its id alone (the stand-in 0.5 for 1.3 ms).

        A MongoDB that is sharded by workspace would ask every shard for it: there the workspace belongs into the query again.
        """
        query = _query(where)
        rest = {name: value for name, value in query.items() if name != "_id"}
        if "_id" not in query or any(isinstance(value, dict) for value in query.values()):
            return await self._store.call(lambda: self._collection.find_one(query, fields))
        if fields is not None and 1 in fields.values():
            fields = {**fields, **dict.fromkeys(rest, 1)}
        row = await self._store.call(lambda: self._collection.find_one({"_id": query["_id"]}, fields))
        return row if row is not None and all(row.get(name) == value for name, value in rest.items()) else None

    async def many(
        self, where: Mapping[str, Any], *, fields: Fields | None = None, order: Order | None = None, limit: int = 0
    ) -> list[Document]:
        """Of a range that is bounded by itself: the stand-in reads all of it, whatever the limit."""
        cursor = self._collection.find(_query(where), fields, limit=limit)
        if order is not None:
            cursor = cursor.sort(list(order))
        return await self._store.call(lambda: cursor.to_list(None))

    async def update(self, where: Mapping[str, Any], change: Document) -> bool:
        """Whether a document matched. Raises Duplicate, Unstorable."""
        result = await self._store.call(lambda: self._collection.update_one(_query(where), change))
        return bool(result.matched_count)

    async def update_all(self, where: Mapping[str, Any], change: Document) -> int:
        result = await self._store.call(lambda: self._collection.update_many(_query(where), change))
        return int(result.matched_count)

    async def delete(self, where: Mapping[str, Any]) -> bool:
        result = await self._store.call(lambda: self._collection.delete_one(_query(where)))
        return bool(result.deleted_count)

    async def delete_all(self, where: Mapping[str, Any]) -> None:
        await self._store.call(lambda: self._collection.delete_many(_query(where)))


class Waits:
    """For how long somebody has waited for MongoDB; while several operations are under way, that is counted once."""

    def __init__(self) -> None:
        self.total_s = 0.0
        self._under_way = 0
        self._waiting_from = 0.0

    @contextmanager
    def wait(self) -> Iterator[None]:
        if not self._under_way:
            self._waiting_from = time.monotonic()
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self.total_s += time.monotonic() - self._waiting_from


_WAITS: ContextVar[Waits | None] = ContextVar("waits", default=None)


@contextmanager
def counted_waits() -> Iterator[Waits]:
    """Of what is done in the block, by tasks that it begins too."""
    waits = Waits()
    token = _WAITS.set(waits)
    try:
        yield waits
    finally:
        _WAITS.reset(token)


class Store:
    """MongoDB, majority-read and majority-written with journal. Opens without it, and serves once its indexes are there.

    The driver repeats a write whose connection broke, unless the URI says `retryWrites=false`: then the caller is refused, and repeats it.
    """

    def __init__(self, uri: str, database: str) -> None:
        self._client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(
            uri,
            w="majority",
            journal=True,
            readConcernLevel="majority",
            serverSelectionTimeoutMS=int(SELECTION_TIMEOUT_S * 1000),
            connectTimeoutMS=1000,
            heartbeatFrequencyMS=1000,
            timeoutMS=int(CALL_TIMEOUT_S * 1000),
            appname="parley-history",
        )
        self._reach = _Reach(self._client)
        self._database = self._client.get_database(database, codec_options=CodecOptions(tz_aware=True))
        self._prepared = False
        self._tasks: list[asyncio.Task[None]] = []
        self.sessions = self._documents("sessions")
        self.turns = self._documents("turns")
        self.agents = self._documents("agents")
        self.agent_versions = self._documents("agent_versions")
        self.passages = self._documents("passages")
        self.keys = self._documents("keys")

    def _documents(self, name: str) -> Documents:
        return Documents(self, self._database.get_collection(name))

    async def __aenter__(self) -> Self:
        self._reach.lost = asyncio.get_running_loop().create_future()
        self._tasks = [asyncio.create_task(self._reach.watch()), asyncio.create_task(self._prepare())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await end_tasks(self._tasks)
        self._client.close()

    async def _prepare(self) -> None:
        """Until every index stands: without them one session could have two active turns."""
        while not self._prepared:
            try:
                for name, indexes in INDEXES.items():
                    with pymongo.timeout(None):  # Building an index on a large collection takes as long as it takes.
                        await self._database.get_collection(name).create_indexes(indexes)
                self._prepared = True
                log.info("store_prepared")
            except PyMongoError as error:
                log.warning("store_not_prepared", error=type(error).__name__, code=getattr(error, "code", None))
                await asyncio.sleep(0.5)

    async def ping(self) -> None:
        """Raises `dependency_unavailable` unless MongoDB answers and its indexes stand."""
        await self.call(lambda: self._client.admin.command("ping"))

    async def call(self, operation: Callable[[], Awaitable[T]]) -> T:
        """One operation, with its errors in our words.

        The driver's threads are few, and each of them may wait for a lost server: so the caller waits for its operation or
        for the word that the server is lost, whichever comes first. The outcome of a write is then unknown.
        """
        if not self._prepared or self._reach.lost.done():
            # Not even begun: the driver would do it after the outage, before whatever comes then and long after its caller was refused.
            raise _unavailable()
        task = asyncio.ensure_future(operation())
        task.add_done_callback(_look_away)
        either: set[asyncio.Future[Any]] = {task, self._reach.lost}
        waits = _WAITS.get()
        with waits.wait() if waits is not None else nullcontext():
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()  # What still waits for a thread is never done.
            raise _unavailable()
        try:
            return task.result()
        except PyMongoError as error:
            raise _translated(error) from error
        except (BSONError, OverflowError, UnicodeEncodeError) as error:
            raise Unstorable from error


def _unavailable() -> ApiError:
    return ApiError(Code.DEPENDENCY_UNAVAILABLE, "The database does not answer.")


def _look_away(task: "asyncio.Future[Any]") -> None:
    """An abandoned operation's error is nobody's."""
    if not task.cancelled():
        task.exception()


def _translated(error: PyMongoError) -> Exception:
    """Whatever else MongoDB says (not primary, disk full, timeout), it may work later."""
    codes = {error.code} if isinstance(error, OperationFailure) else set()
    if isinstance(error, BulkWriteError):
        codes = {failure["code"] for failure in error.details.get("writeErrors", ())}
    if isinstance(error, DuplicateKeyError) or codes == {_DUPLICATE_KEY}:
        return Duplicate()
    if isinstance(error, DocumentTooLarge) or codes & _TOO_LARGE:
        return Unstorable()
    log.warning("store_failed", error=type(error).__name__, codes=sorted(code for code in codes if code is not None))
    return _unavailable()


class _Reach:
    """Whether there is a server that takes writes. The driver knows; it tells its listeners up to a second late, so it is asked.

    `lost` is done once there has been none for as long as a caller may wait for one; it is a new future when one is back.
    """

    def __init__(self, client: "AsyncIOMotorClient[Document]") -> None:
        self._client = client
        self.lost: asyncio.Future[None]

    async def watch(self) -> None:
        """For ever."""
        loop = asyncio.get_running_loop()
        seen = loop.time()
        while True:
            # Motor's stubs call this property a method.
            if cast("TopologyDescription", self._client.topology_description).has_writable_server():
                seen = loop.time()
                if self.lost.done():
                    log.info("store_back")
                    self.lost = loop.create_future()
            elif loop.time() - seen > SELECTION_TIMEOUT_S and not self.lost.done():
                log.warning("store_lost")
                self.lost.set_result(None)
            await asyncio.sleep(WATCH_S)
