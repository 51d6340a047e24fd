"""The connection to MongoDB: majority reads, journaled majority writes, and the collections behind it."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

from pymongo.errors import ConfigurationError, PyMongoError
from pymongo.monitoring import CommandListener

from services.history.mongo.availability import Availability
from services.history.mongo.collection import Collection
from services.history.mongo.dialect import Dialect
from services.history.mongo.driver import DriverName
from services.history.mongo.driver_choice import opened_driver
from services.history.mongo.gridfs import GridFsBlobs
from services.history.mongo.majority import REASON
from services.history.mongo.migrations import prepare
from services.history.mongo.stand_in import dialect_for
from services.history.mongo.suitability import CLOCKS_DIFFER_S, clock_ahead_s, refusal, unsupported
from services.history.mongo.vector_collection import VectorCollection
from shared.log import get_logger
from shared.tasks import end_tasks

log = get_logger()

RETRY_PREPARATION_S: Final = 0.5
RESTORING: Final = "this database is being restored: let `parley restore` finish, or run it again with the same backup"


class Database:
    """Opens without a server, and serves once its indexes exist.

    The driver repeats a write whose connection broke, unless the URI says `retryWrites=false`; then the caller gets an
    error and repeats it. `driver`: see driver.py. `dialect` None: chosen by what the server says of itself.
    `listeners` see every command that is sent. A database that is being restored is refused by everyone but its
    restorer (`restoring`).
    """

    def __init__(
        self,
        uri: str,
        name: str,
        *,
        driver: DriverName = "motor",
        transcript_search: bool = True,
        dialect: Dialect | None = None,
        listeners: Sequence[CommandListener] = (),
        restoring: bool = False,
    ) -> None:
        self._driver = opened_driver(driver, uri, name, listeners)
        self._transcript_search = transcript_search
        self._dialect = dialect
        self._restoring = restoring
        self.availability = Availability(self._driver)
        self._collections: list[Collection] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.sessions = self._collection("sessions")
        self.turns = self._collection("turns")
        self.agents = self._collection("agents")
        self.check_suites = self._collection("check_suites")
        self.check_runs = self._collection("check_runs")
        self.agent_versions = self._collection("agent_versions")
        self.passages = self._collection("passages")
        self.keys = self._collection("keys")
        self.audit = self._collection("audit")
        self.workspaces = self._collection("workspaces")
        self.end_user_erasures = self._collection("end_user_erasures")
        self.erased_logs = self._collection("erased_logs")
        self.budgets = self._collection("budgets")
        self.usage_days = self._collection("usage_days")
        self.end_user_usage_days = self._collection("end_user_usage_days")
        self.sources = self._collection("sources")
        self.webhooks = self._collection("webhooks")
        self.webhook_deliveries = self._collection("webhook_deliveries")
        self.backfills = self._collection("backfills")
        self.indexes = self._collection("indexes")
        self.restores = self._collection("restores")
        self.vectors = VectorCollection(
            self.availability, self._driver.collection("vectors"), partial(self._driver.aggregate, "vectors")
        )
        self._collections.append(self.vectors)
        self.blobs = GridFsBlobs(self.availability, self._driver)

    def _collection(self, name: str) -> Collection:
        collection = Collection(self.availability, self._driver.collection(name))
        self._collections.append(collection)
        return collection

    @property
    def collections(self) -> Sequence[Collection]:
        """All of them. Whatever a workspace stores is erased with it, in every collection."""
        return tuple(self._collections)

    async def __aenter__(self) -> Self:
        self.availability.open()
        loops = (self.availability.watch(), self.availability.majority.watch(), self._prepare())
        self._tasks = [asyncio.create_task(loop) for loop in loops]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await end_tasks(self._tasks)
        await self._driver.close()

    async def _prepare(self) -> None:
        """Repeats until every index exists: without them a session could have two active turns."""
        said: str | None = None
        while not self.availability.prepared:
            try:
                refused = await self._refused_or_prepared()
                if refused is not None and refused != said:
                    log.error("mongodb_refused", reason=refused)
                said = refused
            except PyMongoError as error:
                log.warning("mongodb_not_prepared", error=type(error).__name__, code=getattr(error, "code", None))
            if not self.availability.prepared:
                await asyncio.sleep(RETRY_PREPARATION_S)

    async def _refused_or_prepared(self) -> str | None:
        """Why history does not work with this MongoDB."""
        try:
            build = await self._driver.command("buildInfo")
        except ConfigurationError:
            if (reason := unsupported(self._driver.topology)) is None:
                raise
            return reason
        refused = await self._refusal(build)
        if refused is not None:
            return refused
        if not await self.availability.majority.confirms():
            return REASON  # An index would wait for a majority without an end.
        dialect = self._dialect or dialect_for(build)
        await prepare(self._driver, dialect, transcript_search=self._transcript_search)
        for collection in self._collections:
            collection.dialect = dialect
        self.availability.prepared = True
        log.info("mongodb_prepared")
        return None

    async def _refusal(self, build: Mapping[str, Any]) -> str | None:
        hello = await self._driver.command("hello")
        ahead_s = clock_ahead_s(hello, datetime.now(UTC))
        if abs(ahead_s) > CLOCKS_DIFFER_S:
            # Leases, fences and order go by one clock or by counters; deadlines and expiry dates are wrong by this.
            log.error("clocks_differ", store="mongodb", ahead_s=round(ahead_s))
        if (refused := refusal(hello, build)) is not None or self._restoring:
            return refused
        # Half of a backup is no state to repair: the reconciler would erase what refers to documents still to come.
        under_way = await self._driver.collection("restores").find_one({"running": True}, {"_id": 1})
        return RESTORING if under_way is not None else None

    async def ping(self) -> None:
        """Raises `dependency_unavailable` unless MongoDB answers, its indexes exist and a majority confirms writes."""
        self.availability.majority.expect()
        await self.availability.run(lambda: self._driver.command("ping"))
