"""Whether MongoDB can be used, and the way in which every operation is run: none outlasts an outage."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from bson.errors import BSONError
from pymongo.errors import PyMongoError

from services.history.mongo.driver import SELECTION_TIMEOUT_S, Driver
from services.history.mongo.errors import Unstorable, translated, unavailable
from services.history.mongo.majority import Majority
from services.history.mongo.waits import waiting
from shared.contracts.errors import ApiError
from shared.log import get_logger
from shared.store_metrics import measured

log = get_logger()

T = TypeVar("T")
WATCH_S: Final = 0.1
WRITES: Final = frozenset({"insert", "update", "write", "delete"})


class Availability:
    """Knows whether there is a server that takes writes, and whether the collections are prepared.

    The driver's listeners report a loss up to a second late, so the driver's own state is polled. `lost` is done once
    there has been no server for as long as a caller may wait for one; it is replaced by a new future when a server is
    back.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.prepared = False
        self.majority = Majority(driver.collection("backfills"))
        self.lost: asyncio.Future[None]

    def open(self) -> None:
        self.lost = asyncio.get_running_loop().create_future()
        self.majority.open()

    async def watch(self) -> None:
        """Runs until it is cancelled."""
        loop = asyncio.get_running_loop()
        seen = loop.time()
        while True:
            if self._driver.topology.has_writable_server():
                seen = loop.time()
                if self.lost.done():
                    log.info("mongodb_back")
                    self.lost = loop.create_future()
            elif loop.time() - seen > SELECTION_TIMEOUT_S and not self.lost.done():
                log.warning("mongodb_lost")
                self.lost.set_result(None)
            await asyncio.sleep(WATCH_S)

    async def run(self, operation: Callable[[], Awaitable[T]], kind: str = "other") -> T:
        """Runs one operation, measured as its `kind`.

        Raises ApiError(`dependency_unavailable`), Duplicate or Unstorable.

        The caller waits for its operation or for the news that the server is lost, whichever comes first: a driver may
        wait for the server for longer (Motor in one of few threads). The outcome of a write is then unknown.
        """
        with measured("mongodb", kind, (ApiError,)):
            if kind in WRITES:
                self.majority.expect()
            return await self._run(operation)

    async def _run(self, operation: Callable[[], Awaitable[T]]) -> T:
        if not self.prepared or self.lost.done():
            # It is not started: the driver would run it after the outage, long after its caller was refused.
            raise unavailable()
        task = asyncio.ensure_future(self._bounded(operation))
        task.add_done_callback(_retrieve_error)
        either: set[asyncio.Future[Any]] = {task, self.lost}
        with waiting():
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            # Motor's operation never runs if it still waits for a thread; PyMongo's ends, and its connection is closed.
            task.cancel()
            raise unavailable()
        try:
            return task.result()
        except PyMongoError as error:
            self.majority.judge(error)
            raise translated(error) from error
        except (BSONError, OverflowError, UnicodeEncodeError, RecursionError) as error:
            raise Unstorable from error

    async def _bounded(self, operation: Callable[[], Awaitable[T]]) -> T:
        if (operations := self._driver.operations) is None:
            return await operation()
        async with operations:
            return await operation()


def _retrieve_error(task: "asyncio.Future[Any]") -> None:
    """asyncio reports errors that nobody retrieves; nobody waits for an abandoned operation."""
    if not task.cancelled():
        task.exception()
