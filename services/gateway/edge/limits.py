"""How much one key, and all keys together, may use of this gateway: requests per minute, and requests held open."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Gauge

from services.gateway.edge.buckets import Allowance, TokenBuckets
from shared.contracts.errors import ApiError, Code

HELD = Gauge("parley_held_requests", "Open streams and requests that wait for a turn")


class GatewayLimits:
    """Counted per process. The limits fail open: a gateway that has just started knows of no use yet."""

    def __init__(self, *, requests_per_minute: int, streams_per_key: int, streams_limit: int) -> None:
        self._requests = TokenBuckets(requests_per_minute)
        self._streams_per_key = streams_per_key
        self._streams_limit = streams_limit
        self._held: Counter[str] = Counter()
        self.held = 0
        self.idle = asyncio.Event()
        self.idle.set()

    def request(self, key_id: str) -> Allowance:
        """Counts a request of the key. It must be refused when the allowance's `retry_s` is above 0."""
        return self._requests.take(key_id)

    @contextmanager
    def hold(self, key_id: str) -> Iterator[None]:
        """Counts an open stream or waiting request. Raises `rate_limited` (key) or `overloaded` (gateway)."""
        if self._held[key_id] >= self._streams_per_key:
            raise ApiError(Code.RATE_LIMITED, "This key has too many open streams and waiting requests.")
        if self.held >= self._streams_limit:
            raise ApiError(Code.OVERLOADED, "This gateway has too many open streams and waiting requests.")
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
