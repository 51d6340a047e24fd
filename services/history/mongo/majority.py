"""Whether a majority of MongoDB's members confirms writes.

A primary can stay primary and confirm nothing, as one with an arbiter whose only other member with data is away. Each
write would then wait for all of its time.
"""

import asyncio
from typing import Final

from pymongo.errors import BulkWriteError, PyMongoError, WriteConcernError

from services.history.mongo.driver import DriverCollection
from shared.contracts.errors import ApiError, Code
from shared.log import get_logger

log = get_logger()

LOOK_AGAIN_S: Final = 0.5
REASON: Final = "No majority of MongoDB's members confirms a write: rs.status() names the members that are away."


class Majority:
    """`is_lost` from a write that the server did without a majority's word, until a majority confirms one again.

    The document of such a write may exist, and may be gone after the next election: to its caller the outcome is
    unknown.
    """

    def __init__(self, collection: DriverCollection) -> None:
        self._collection = collection
        self._lost: asyncio.Event

    def open(self) -> None:
        self._lost = asyncio.Event()

    @property
    def is_lost(self) -> bool:
        return self._lost.is_set()

    def expect(self) -> None:
        """Raises ApiError(`dependency_unavailable`) while it is lost: no caller waits for what cannot come."""
        if self._lost.is_set():
            raise ApiError(Code.DEPENDENCY_UNAVAILABLE, "The database has no majority that confirms a write.")

    def judge(self, error: PyMongoError) -> None:
        """Looks at the error of a write."""
        if is_unconfirmed(error) and not self._lost.is_set():
            log.error("mongodb_no_majority", reason=REASON)
            self._lost.set()

    async def confirms(self) -> bool:
        """Asks for a majority's word on everything so far, by an update that matches no document. Raises PyMongoError.

        Takes up to the time of an operation.
        """
        try:
            await self._collection.update_one({"_id": "majority"}, {"$set": {"seen": True}})
        except WriteConcernError:
            return False
        return True

    async def watch(self) -> None:
        """Runs until it is cancelled."""
        while True:
            await self._lost.wait()
            try:
                if await self.confirms():
                    log.info("mongodb_majority_back")
                    self._lost.clear()
                    continue
            except PyMongoError as error:
                log.debug("mongodb_majority_unknown", error=type(error).__name__)
            await asyncio.sleep(LOOK_AGAIN_S)


def is_unconfirmed(error: PyMongoError) -> bool:
    """Whether the primary did a write, and its majority did not confirm it in time."""
    if isinstance(error, BulkWriteError):
        return bool(error.details.get("writeConcernErrors"))
    return isinstance(error, WriteConcernError)
