"""Requests per minute of a name, over all gateways: counted in Redis, or by this process alone while Redis is away."""

import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from cachetools import LRUCache
from prometheus_client import Counter
from redis.exceptions import RedisError

from services.gateway.edge.allowance import Allowance
from services.gateway.edge.buckets import KNOWN_BUCKETS, TokenBuckets
from shared.broker.batches import ScriptBatches
from shared.broker.script import Script
from shared.log import get_logger

log = get_logger()

ALONE = Counter("parley_rates_counted_alone_total", "Requests whose rate this gateway counted without Redis")
KEY: Final = "parley:rate:"
# After a failure Redis is left alone for so long, so that an outage costs each request nothing.
ASK_AGAIN_S: Final = 1.0
_SCRIPT: Final = Script.read(Path(__file__).with_name("rate.lua"))
_US: Final = 1_000_000


class RequestRates:
    """A name that was idle may use a minute's requests at once, and then gets them back evenly.

    While Redis does not answer, each gateway allows the whole rate by itself: requests are not refused for the outage,
    and a flood is still bounded. `async with` it; it connects at the first request.
    """

    def __init__(self, redis_url: str) -> None:
        self._batches = ScriptBatches(redis_url, _SCRIPT)
        self._alone = TokenBuckets()
        # Names that were refused, and until when: a flood of refused requests asks Redis for none of them.
        self._refused = LRUCache[str, tuple[float, Allowance]](KNOWN_BUCKETS)
        self._ask_at = 0.0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._batches.close()

    async def take(self, name: str, per_minute: int) -> Allowance:
        """Counts a request, unless it must be refused."""
        now = time.monotonic()
        refused = self._refused.get(name)
        if refused is not None and refused[0] > now and refused[1].limit == per_minute:
            return refused[1].later(refused[0] - now)
        allowance = await self._asked(name, per_minute, 1)
        if allowance is None:
            ALONE.inc()
            return self._alone.take(name, per_minute)
        if allowance.retry_s > 0:
            self._refused[name] = time.monotonic() + allowance.retry_s, allowance
        return allowance

    async def give_back(self, name: str, per_minute: int) -> None:
        """Uncounts a request that turned out not to matter."""
        if await self._asked(name, per_minute, -1) is None:
            self._alone.give_back(name)

    async def _asked(self, name: str, per_minute: int, cost: int) -> Allowance | None:
        """None: Redis is away."""
        if time.monotonic() < self._ask_at:
            return None
        try:
            left, full_us, retry_us = await self._batches.ask(KEY + name, per_minute, cost)
        except (RedisError, OSError) as error:
            if time.monotonic() >= self._ask_at:  # The others of the same failure say nothing.
                log.warning("rates_counted_alone", error=type(error).__name__)
            self._ask_at = time.monotonic() + ASK_AGAIN_S
            return None
        return Allowance(per_minute, left, full_us / _US, retry_us / _US)
