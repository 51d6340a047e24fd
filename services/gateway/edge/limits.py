"""How much one key, and all keys together, may ask of this gateway: requests per minute, and connections held open."""

import asyncio
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from prometheus_client import Gauge

from shared.contracts.errors import ApiError, Code

KNOWN_BUCKETS: Final = 10_000
HELD = Gauge("parley_held_requests", "Streams and requests that wait for a turn")


class Allowance(NamedTuple):
    """What is left of a key's requests. `reset_s`: until all of `limit` are there again."""

    limit: int
    remaining: int
    reset_s: float
    retry_s: float

    def headers(self, *, openai: bool) -> dict[str, str]:
        names = {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(math.ceil(self.reset_s)),
        }
        if openai:
            names["x-ratelimit-limit-requests"] = str(self.limit)
            names["x-ratelimit-remaining-requests"] = str(self.remaining)
            names["x-ratelimit-reset-requests"] = openai_duration(self.reset_s)
        return names


def openai_duration(seconds: float) -> str:
    """`6m0s`, `12s`: as OpenAI spells it."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


class _Bucket:
    __slots__ = ("at", "tokens")

    def __init__(self, tokens: float, at: float) -> None:
        self.tokens = tokens
        self.at = at


class Limits:
    """Counted per process, and open when in doubt: a gateway that has just started knows of no use yet."""

    def __init__(self, *, requests_per_minute: int, streams_per_key: int, streams_limit: int) -> None:
        self._rate = requests_per_minute
        self._streams_per_key = streams_per_key
        self._streams_limit = streams_limit
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._held: Counter[str] = Counter()
        self.held = 0
        self.idle = asyncio.Event()
        self.idle.set()

    def request(self, key_id: str) -> Allowance:
        """Counts a request; the allowance's `retry_s` is above 0 when it must be refused."""
        now, per_second = time.monotonic(), self._rate / 60
        bucket = self._buckets.get(key_id)
        if bucket is None:
            bucket = self._buckets[key_id] = _Bucket(self._rate, now)
            if len(self._buckets) > KNOWN_BUCKETS:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key_id)
        bucket.tokens = min(self._rate, bucket.tokens + (now - bucket.at) * per_second)
        bucket.at = now
        refused = bucket.tokens < 1
        if not refused:
            bucket.tokens -= 1
        retry_s = (1 - bucket.tokens) / per_second if refused else 0.0
        return Allowance(self._rate, int(bucket.tokens), (self._rate - bucket.tokens) / per_second, retry_s)

    @contextmanager
    def hold(self, key_id: str) -> Iterator[None]:
        """A place for a stream or a waiting request. Raises `rate_limited` (the key's own limit) or `overloaded` (everyone's)."""
        if self._held[key_id] >= self._streams_per_key:
            raise ApiError(Code.RATE_LIMITED, "This key has too many streams open.")
        if self.held >= self._streams_limit:
            raise ApiError(Code.OVERLOADED, "This gateway has too many streams open.")
        self.held += 1
        self._held[key_id] += 1
        self.idle.clear()
        HELD.inc()
        try:
            yield
        finally:
            self.held -= 1
            self._held[key_id] -= 1
            if not self._held[key_id]:
                del self._held[key_id]
            HELD.dec()
            if not self.held:
                self.idle.set()
