"""Requests per minute of a name, over all gateways: counted in Redis, or by this process alone while Redis is away.

The same call takes a place for the request's stream (`stream_places.py`).
"""

import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from cachetools import LRUCache
from prometheus_client import Counter
from redis.exceptions import RedisError

from services.gateway.edge.allowance import Allowance
from services.gateway.edge.buckets import KNOWN_BUCKETS, TokenBuckets
from services.gateway.edge.stream_places import Place, StreamPlaces
from shared.broker.batches import ScriptBatches
from shared.broker.script import Script
from shared.log import get_logger
from shared.tasks import BackgroundLoops

log = get_logger()

ALONE = Counter("parley_rates_counted_alone_total", "Requests whose rate this gateway counted without Redis")
KEY: Final = "parley:rate:"
# After a failure Redis is left alone for so long, so that an outage costs each request nothing.
ASK_AGAIN_S: Final = 1.0
_SCRIPT: Final = Script.read(Path(__file__).with_name("rate.lua"))
# For so long after an answer, nobody needs to ask whether Redis answers.
FRESH_S: Final = 0.25
_US: Final = 1_000_000


class RequestRates:
    """A name that was idle may use a minute's requests at once, and then gets them back evenly.

    While Redis does not answer, each gateway allows the whole rate by itself: requests are not refused for the outage,
    and a flood is still bounded. `async with` it; it connects at the first request.
    """

    def __init__(self, redis_url: str) -> None:
        self.loops = BackgroundLoops()
        self._batches = ScriptBatches(redis_url)
        self.places = StreamPlaces(self._batches)
        self._alone = TokenBuckets()
        # Names that were refused, and until when: a flood of refused requests asks Redis for none of them.
        self._refused = LRUCache[str, tuple[float, Allowance]](KNOWN_BUCKETS)
        self._ask_at = 0.0
        self._answered_at = -FRESH_S

    async def __aenter__(self) -> Self:
        self.loops.start("stream_places", self.places.renew())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.loops.end()
        await self._batches.flush()
        await self._batches.close()

    @property
    def is_fresh(self) -> bool:
        """Whether the last call was answered, moments ago. A request that was counted has just asked."""
        return time.monotonic() - self._answered_at < FRESH_S

    async def take(self, name: str, per_minute: int, place: Place | None = None) -> Allowance:
        """Counts a request, unless it must be refused, and takes its place if it has one. `per_minute` 0: no limit."""
        now = time.monotonic()
        refused = self._refused.get(name)
        if refused is not None and refused[0] > now and refused[1].limit == per_minute:
            return refused[1].later(refused[0] - now)
        allowance = await self._asked(name, per_minute, 1, place)
        if allowance is None:
            ALONE.inc()
            if place is not None:
                self.places.answered(place, taken=True)
            return self._alone.take(name, per_minute) if per_minute else Allowance(0, 0, 0.0, 0.0)
        if allowance.retry_s > 0:
            self._refused[name] = time.monotonic() + allowance.retry_s, allowance
        return allowance

    async def give_back(self, name: str, per_minute: int) -> None:
        """Uncounts a request that turned out not to matter."""
        if await self._asked(name, per_minute, -1) is None:
            self._alone.give_back(name)

    async def _asked(self, name: str, per_minute: int, cost: int, place: Place | None = None) -> Allowance | None:
        """None: Redis is away."""
        if time.monotonic() < self._ask_at:
            return None
        keys, arguments = [KEY + name], (per_minute, cost)
        try:
            if place is None:
                left, full_us, retry_us, _ = await self._batches.ask(_SCRIPT, keys, *arguments)
            else:
                place.is_asked = True
                keys.append(place.name)
                left, full_us, retry_us, placed = await self._batches.ask(_SCRIPT, keys, *arguments, *place.arguments)
                self.places.answered(place, taken=bool(placed))
        except (RedisError, OSError) as error:
            if time.monotonic() >= self._ask_at:  # The others of the same failure say nothing.
                log.warning("rates_counted_alone", error=type(error).__name__)
            self._ask_at = time.monotonic() + ASK_AGAIN_S
            self._answered_at = -FRESH_S
            return None
        self._answered_at = time.monotonic()
        return Allowance(per_minute, left, full_us / _US, retry_us / _US)
