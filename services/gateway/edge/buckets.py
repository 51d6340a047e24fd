"""Token buckets of this process, one per name: how many requests a key or an address has left."""

import time
from typing import Final

from cachetools import LRUCache

from services.gateway.edge.allowance import Allowance

KNOWN_BUCKETS: Final = 10_000


class _Bucket:
    __slots__ = ("at", "limit", "tokens")

    def __init__(self, limit: int, at: float) -> None:
        self.limit = limit
        self.tokens = float(limit)
        self.at = at


class TokenBuckets:
    """Counts in this process. A name that was evicted, and every name after a start, has its full allowance."""

    def __init__(self, *, size: int = KNOWN_BUCKETS) -> None:
        self._buckets = LRUCache[str, _Bucket](size)

    def take(self, name: str, per_minute: int) -> Allowance:
        """Counts one request, unless it must be refused."""
        bucket = self._filled(name, per_minute)
        if bucket.tokens < 1:
            return _allowance(bucket, (1 - bucket.tokens) * 60 / per_minute)
        bucket.tokens -= 1
        return _allowance(bucket, 0.0)

    def give_back(self, name: str) -> None:
        """Uncounts a request that turned out not to matter."""
        bucket = self._buckets.get(name)
        if bucket is not None:
            bucket.tokens = min(bucket.limit, bucket.tokens + 1)

    def _filled(self, name: str, per_minute: int) -> _Bucket:
        now = time.monotonic()
        bucket = self._buckets.get(name)
        if bucket is None or bucket.limit != per_minute:
            bucket = self._buckets[name] = _Bucket(per_minute, now)
        bucket.tokens = min(bucket.limit, bucket.tokens + (now - bucket.at) * per_minute / 60)
        bucket.at = now
        return bucket


def _allowance(bucket: _Bucket, retry_s: float) -> Allowance:
    return Allowance(bucket.limit, int(bucket.tokens), (bucket.limit - bucket.tokens) * 60 / bucket.limit, retry_s)
