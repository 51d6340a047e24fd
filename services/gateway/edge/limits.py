"""How much one key may use of all gateways, and all keys of this one: requests per minute, and requests held open."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Gauge

from services.gateway.edge.allowance import Allowance
from services.gateway.edge.rates import RequestRates
from services.gateway.edge.stream_places import Place
from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import Principal
from shared.contracts.turns import TurnLimits
from shared.metrics import LIMITS_HIT

HELD = Gauge("parley_held_requests", "Open streams and requests that wait for a turn")


class GatewayLimits:
    """A key's requests and open streams are counted over all gateways, all open streams together by each for itself.

    The limits fail open: without Redis a gateway counts alone.
    """

    def __init__(
        self,
        rates: RequestRates,
        *,
        requests_per_minute: int,
        streams_per_key: int,
        streams_limit: int,
        turns_per_key: int = 0,
        turns_per_end_user: int = 0,
        visitor_requests_per_minute: int = 0,
        visits_per_minute: int = 0,
        unchallenged_visits_per_minute: int = 0,
    ) -> None:
        """The limits of requests and turns are for keys that have none of their own. 0: no limit."""
        self._visitor_per_minute = visitor_requests_per_minute
        self._visits_per_minute = visits_per_minute
        self._unchallenged_per_minute = unchallenged_visits_per_minute
        self._turns_per_key = turns_per_key
        self._turns_per_end_user = turns_per_end_user
        self._rates = rates
        self.loops = rates.loops
        self._requests_per_minute = requests_per_minute
        self._streams_per_key = streams_per_key
        self._streams_limit = streams_limit
        self._held: Counter[str] = Counter()
        # An alert watches it: the first refusal must be a rise from 0.
        LIMITS_HIT.labels("gateway_streams")
        self.held = 0
        self.idle = asyncio.Event()
        self.idle.set()

    async def visit(self, address: str) -> None:
        """Counts a new session of a web page's visitor at this address. Raises `rate_limited`."""
        if not self._visits_per_minute:
            return
        allowance = await self._rates.take(f"visits:{address}", self._visits_per_minute)
        if allowance.retry_s > 0:
            LIMITS_HIT.labels("visits").inc()
            raise ApiError(
                Code.RATE_LIMITED,
                "Too many conversations were started from this address.",
                headers=allowance.retry_after(),
            )

    async def unchallenged_visit(self, key_id: str) -> bool:
        """Counts a new session without a solved challenge. False: the key's visitors have started too many."""
        if not self._unchallenged_per_minute:
            return True
        allowance = await self._rates.take(f"unchallenged:{key_id}", self._unchallenged_per_minute)
        return allowance.retry_s <= 0

    @property
    def redis_answers(self) -> bool:
        """Whether the Redis of the queue has answered a moment ago. False: it was not asked, or did not answer."""
        return self._rates.is_fresh

    def place(self, principal: Principal) -> Place:
        """For a request that may be held open: give it to `request`, and in the end to `leave`."""
        return self._rates.places.new(principal.key_id, self._streams_per_key)

    def leave(self, place: Place) -> None:
        """The request has ended."""
        self._rates.places.leave(place)

    async def request(self, principal: Principal, place: Place | None = None) -> Allowance | None:
        """Counts a request of the key, and takes its place. It must be refused when the allowance's `retry_s` is above
        0. That no place is left is told by `hold`.

        None: the key has no limit of requests, and none was counted.
        """
        if principal.visitor is not None and self._visitor_per_minute:
            # First, so that one visitor does not use up what the key's other visitors share.
            own = await self._rates.take(f"visitor:{principal.visitor.id}", self._visitor_per_minute)
            if own.retry_s > 0:
                LIMITS_HIT.labels("visitor").inc()
                return own
        per_minute = principal.rate_limit_rpm or self._requests_per_minute
        if not per_minute and place is None:
            return None
        allowance = await self._rates.take(f"key:{principal.key_id}", per_minute, place)
        if not per_minute:
            return None
        if allowance.retry_s > 0:
            LIMITS_HIT.labels("requests").inc()
        return allowance

    def turns(self, principal: Principal) -> TurnLimits | None:
        """What history is to check when it admits a turn: an order that repeats an admitted one is not refused."""
        key, end_user = principal.max_concurrent_turns or self._turns_per_key, self._turns_per_end_user
        return TurnLimits(key=key or None, end_user=end_user or None) if key or end_user else None

    @contextmanager
    def hold(self, key_id: str, place: Place | None = None) -> Iterator[None]:
        """Counts an open stream or waiting request. Raises `rate_limited` (key) or `overloaded` (gateway).

        Without a place it is counted by this gateway only.
        """
        if self._held[key_id] >= self._streams_per_key or (place is not None and place.is_refused):
            LIMITS_HIT.labels("key_streams").inc()
            raise ApiError(Code.RATE_LIMITED, "This key has too many open streams and waiting requests.")
        if self.held >= self._streams_limit:
            LIMITS_HIT.labels("gateway_streams").inc()
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
