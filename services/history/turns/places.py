"""Places: how many turns of a key, and of an end user, may be active at once. Taken at admission, returned at the end.

A place is an entry in Redis. It goes when the turn's end is stored, before anybody hears of that end. Where that was
interrupted, MongoDB tells which turns are active once a set is full. And each place lapses after the longest life that
a turn can have.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

from cachetools import TTLCache
from redis.exceptions import RedisError

from services.history.mongo.client import Database
from services.history.mongo.filters import one_of
from services.history.settings import HistorySettings
from shared.broker.script import Script
from shared.contracts.errors import ApiError, Code
from shared.contracts.turns import TurnLimits
from shared.log import get_logger
from shared.metrics import LIMITS_HIT
from shared.turn_queue.queue import TurnQueue

log = get_logger()

# A slow Redis, or a history that has too much to do, gets this long to count a turn. Callers of history wait for five.
ANSWER_S: Final = 2.0
RETURN_S: Final = 0.5
# The reconciler ends a turn a little after its deadline.
SLACK_S: Final = 60.0
# A turn that has its place and is not in MongoDB may be about to be stored.
YOUNG_MS: Final = 30_000
CLEAN_EVERY_S: Final = 1.0
_KEY: Final = "parley:places:key:"
_END_USER: Final = "parley:places:end_user:"
_SCRIPT: Final = Script.read(Path(__file__).with_name("places.lua"))
_KEY_HIT: Final = ("key_turns", "This key has too many turns that run or wait.")
_NOT_COUNTED: Final = "The turns that run or wait could not be counted in time. Try again in some seconds."
_END_USER_HIT: Final = ("end_user_turns", "This end user has too many turns that run or wait.")


class Taken:
    """The names of the sets in which a turn that is being admitted has a place. `keep` when the turn is stored."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.names = tuple(names)
        self.is_kept = False

    def keep(self) -> None:
        self.is_kept = True


class Places:
    """Fails open without Redis: every turn is admitted, and the gateway refuses those that it cannot enqueue.

    Fails closed when a turn is not counted in time. Overload is what the limits are for: a history that is too busy to
    count would else let all turns in. After a flush, turns from before are not counted.
    """

    def __init__(self, database: Database, queue: TurnQueue, settings: HistorySettings) -> None:
        self._turns = database.turns
        self._queue = queue
        self._keep_ms = int((settings.queue_timeout_s + settings.turn_timeout_s + SLACK_S) * 1000)
        self._cleaned: TTLCache[str, bool] = TTLCache(10_000, CLEAN_EVERY_S)

    @asynccontextmanager
    async def taken(
        self, workspace: str, turn_id: str, limits: TurnLimits | None, key_id: str | None, end_user: str | None
    ) -> AsyncIterator[Taken]:
        """Places for the block, returned at its end unless `keep` was called. Raises `rate_limited`, `overloaded`.

        An order without limits costs nothing.
        """
        wanted = _wanted(workspace, limits, key_id, end_user)
        taken = Taken(await self._take(workspace, turn_id, wanted) if wanted else ())
        try:
            yield taken
        finally:
            if not taken.is_kept:
                await self.give_back(turn_id, taken.names)

    async def _take(self, workspace: str, turn_id: str, wanted: Mapping[str, int]) -> Sequence[str]:
        try:
            full = await self._try(turn_id, wanted)
            if full is not None and await self._clean(workspace, full):
                full = await self._try(turn_id, wanted)
        except TimeoutError:
            await self.give_back(turn_id, tuple(wanted))  # It may have been counted all the same.
            LIMITS_HIT.labels("turns_not_counted").inc()
            raise ApiError(Code.OVERLOADED, _NOT_COUNTED) from None
        except (RedisError, OSError) as error:
            log.warning("places_not_counted", turn_id=turn_id, error=type(error).__name__)
            return tuple(wanted)  # It may have been counted all the same.
        if full is not None:
            limit, detail = _END_USER_HIT if full.startswith(_END_USER) else _KEY_HIT
            LIMITS_HIT.labels(limit).inc()
            raise ApiError(Code.RATE_LIMITED, detail)
        return tuple(wanted)

    async def _try(self, turn_id: str, wanted: Mapping[str, int]) -> str | None:
        """The set that has no place left."""
        names = list(wanted)
        arguments: list[str | int] = [turn_id, self._keep_ms, *wanted.values()]
        async with asyncio.timeout(ANSWER_S):
            full = await _SCRIPT.run(self._queue.connections.call, names, arguments)
        return names[int(full) - 1] if full else None

    async def _clean(self, workspace: str, name: str) -> bool:
        """Returns the places of turns that are not active any more. Their end was stored, and then history was killed.

        False: this was done a moment ago.
        """
        if name in self._cleaned:
            return False
        self._cleaned[name] = True
        async with asyncio.timeout(ANSWER_S):
            seconds, us = await self._queue.time()
            oldest = seconds * 1000 + us // 1000 + self._keep_ms - YOUNG_MS
            ids = [turn_id.decode() for turn_id in await self._queue.zrangebyscore(name, "-inf", oldest)]
        if not ids:
            return False
        where = {"_id": one_of(ids), "workspace": workspace, "active": True}
        active = {row["_id"] for row in await self._turns.many(where, fields={"_id": 1}, limit=len(ids))}
        gone = [turn_id for turn_id in ids if turn_id not in active]
        if gone:
            async with asyncio.timeout(ANSWER_S):
                await self._queue.zrem(name, *gone)
            log.info("places_cleaned", count=len(gone))
        return bool(gone)

    async def give_back(self, turn_id: str, names: Sequence[str]) -> None:
        """May be repeated. What fails here is found once the set is full."""
        try:
            async with asyncio.timeout(RETURN_S):
                for name in names:
                    await self._queue.zrem(name, turn_id)
        except (RedisError, OSError) as error:
            log.warning("place_not_returned", turn_id=turn_id, error=type(error).__name__)


def _wanted(workspace: str, limits: TurnLimits | None, key_id: str | None, end_user: str | None) -> dict[str, int]:
    """How many places each set has in which the turn needs one."""
    if limits is None:
        return {}
    wanted = dict[str, int]()
    if limits.key is not None and key_id is not None:
        wanted[_KEY + key_id] = limits.key
    if limits.end_user is not None and end_user is not None:
        # The id is the caller's own text, and may be personal.
        digest = sha256(f"{workspace}\0{end_user}".encode()).hexdigest()
        wanted[_END_USER + digest] = limits.end_user
    return wanted
