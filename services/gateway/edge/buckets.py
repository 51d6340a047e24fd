"""Token buckets, one per name: how many requests a key or an address has left, and when it may come back."""

import math
import time
from typing import Final, NamedTuple

from cachetools import LRUCache

KNOWN_BUCKETS: Final = 10_000


class Allowance(NamedTuple):
    """What is left of a name's requests. `reset_s`: until all of `limit` are there again. `retry_s` above 0: refuse."""

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

    def retry_after(self) -> dict[str, str]:
        """The header of the refusal, in whole seconds and never too early."""
        return {"Retry-After": str(max(1, math.ceil(self.retry_s)))}


def openai_duration(seconds: float) -> str:
    """`6m0s`, `12s`: OpenAI's spelling."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


class _Bucket:
    __slots__ = ("at", "tokens")

    def __init__(self, tokens: float, at: float) -> None:
        self.tokens = tokens
        self.at = at


class TokenBuckets:
    """Counts in this process. A name that was evicted, and every name after a start, has its full allowance."""

    def __init__(self, per_minute: int, *, size: int = KNOWN_BUCKETS) -> None:
        self._limit = per_minute
        self._per_second = per_minute / 60
        self._buckets = LRUCache[str, _Bucket](size)

    def take(self, name: str) -> Allowance:
        """Counts one request, unless it must be refused."""
        bucket = self._filled(name)
        if bucket.tokens < 1:
            return self._allowance(bucket, (1 - bucket.tokens) / self._per_second)
        bucket.tokens -= 1
        return self._allowance(bucket, 0.0)

    def give_back(self, name: str) -> None:
        """Uncounts a request that turned out not to matter."""
        bucket = self._buckets.get(name)
        if bucket is not None:
            bucket.tokens = min(self._limit, bucket.tokens + 1)

    def _filled(self, name: str) -> _Bucket:
        now = time.monotonic()
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = _Bucket(self._limit, now)
        bucket.tokens = min(self._limit, bucket.tokens + (now - bucket.at) * self._per_second)
        bucket.at = now
        return bucket

    def _allowance(self, bucket: _Bucket, retry_s: float) -> Allowance:
        return Allowance(self._limit, int(bucket.tokens), (self._limit - bucket.tokens) / self._per_second, retry_s)
