"""Places of open streams and waiting requests: so many for each key over all gateways, held under a lease in Redis.

A place is taken by the script that counts the request (`rate.lua`), so it costs no round trip of its own.
"""

import asyncio
from itertools import count
from pathlib import Path
from secrets import token_hex
from typing import Final

from redis.exceptions import RedisError

from shared.broker.batches import ScriptBatches
from shared.broker.script import Script
from shared.log import get_logger

log = get_logger()

KEY: Final = "parley:streams:"
# The places of a killed gateway are free again after so long.
LEASE_S: Final = 15.0
# Two renewals may be lost.
RENEW_EVERY_S: Final = 4.0
RENEW_BATCH: Final = 500
_RENEW: Final = Script.read(Path(__file__).with_name("renew_places.lua"))
_RETURN: Final = Script.of("return redis.call('ZREM', KEYS[1], ARGV[1])")


class Place:
    """One request's place. `is_asked`: Redis may have it. `is_refused`: the key had no place left."""

    __slots__ = ("id", "is_asked", "is_refused", "key_id", "limit")

    def __init__(self, key_id: str, place_id: str, limit: int) -> None:
        self.key_id = key_id
        self.id = place_id
        self.limit = limit
        self.is_asked = False
        self.is_refused = False

    @property
    def name(self) -> str:
        """The set in Redis."""
        return KEY + self.key_id

    @property
    def arguments(self) -> tuple[str, int, int]:
        """What `rate.lua` takes for it."""
        return self.id, self.limit, int(LEASE_S * 1000)


class StreamPlaces:
    """What this gateway holds. Run `renew` as a task.

    Fails open: what Redis could not be asked for is held all the same, and counted as soon as Redis is back.
    """

    def __init__(self, batches: ScriptBatches) -> None:
        self._batches = batches
        self._gateway = token_hex(6)
        self._numbers = count()
        self._held: dict[str, set[str]] = {}

    def new(self, key_id: str, limit: int) -> Place:
        return Place(key_id, f"{self._gateway}:{next(self._numbers)}", limit)

    def answered(self, place: Place, *, taken: bool) -> None:
        place.is_refused = not taken
        if taken:
            self._held.setdefault(place.name, set()).add(place.id)

    def leave(self, place: Place) -> None:
        """Returns the place, within `LAZY_S` of the batches. If that fails, it lapses."""
        held = self._held.get(place.name, set())
        is_held = place.id in held
        held.discard(place.id)
        if not held:
            self._held.pop(place.name, None)
        if is_held or (place.is_asked and not place.is_refused):
            self._batches.tell(_RETURN, [place.name], place.id)

    async def renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            try:
                for name in list(self._held):
                    await self._renew(name)
            except (RedisError, OSError) as error:
                log.debug("places_not_renewed", error=type(error).__name__)

    async def _renew(self, name: str) -> None:
        held = list(self._held.get(name, ()))
        for start in range(0, len(held), RENEW_BATCH):
            # Those that were returned in between must not be taken again.
            still = self._held.get(name, set()).intersection(held[start : start + RENEW_BATCH])
            if still:
                await self._batches.ask(_RENEW, [name], int(LEASE_S * 1000), *still)
