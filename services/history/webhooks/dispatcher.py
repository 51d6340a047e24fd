"""Which deliveries are tried at the same time: a bounded number of each endpoint and of each workspace.

An endpoint is served by a task of its own. Nobody waits for it but the deliveries behind it: a receiver may take all
its time, for ever, and holds up no other one. An endpoint that fails rests, and a single one of its lanes is tried
between: what a round costs does not depend on how much waits for it.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from services.history.metrics import WEBHOOK_OLDEST
from services.history.mongo.filters import Document
from services.history.webhooks.deliveries import Deliveries
from services.history.webhooks.endpoint_health import EndpointHealth
from services.history.webhooks.sender import FACTOR, Sender
from services.history.webhooks.subscriptions import Endpoint, Subscriptions
from shared.contracts.errors import ApiError
from shared.log import get_logger
from shared.tasks import end_tasks

log = get_logger()

CANDIDATES: Final = 500
LANES: Final = 64
LANES_OF_ENDPOINT: Final = 4
ENDPOINTS_OF_WORKSPACE: Final = 4
# Looks at the queue in a round: an endpoint with more than CANDIDATES deliveries fills one.
LOOKS: Final = 8
# The embedded database reads all that waits to find what is due, and an equality with an endpoint alone is quick there.
# Slow looks may take a twentieth of the time; between them the rounds look at single endpoints, so many at a time.
SLOW_S: Final = 0.3
LOOKS_SHARE: Final = 20.0
LONGEST_PAUSE_S: Final = 60.0
SINGLE_LOOKS: Final = 20
# An endpoint that fails is tried this often at most, whatever waits for it.
REST_S: Final = 30.0


class Served(NamedTuple):
    workspace: str
    oldest: datetime
    task: "asyncio.Task[None]"


@contextmanager
def _postponed(endpoint_id: str) -> Iterator[None]:
    """An outage is waited out: what was to be tried stays due."""
    try:
        yield
    except ApiError as error:
        log.warning("webhook_lane_postponed", endpoint=endpoint_id, error=str(error.code))


def rest_of(first_retry_s: float) -> timedelta:
    """How long an endpoint that fails rests. `first_retry_s`: the pause before the second try of a delivery."""
    return timedelta(seconds=min(first_retry_s * FACTOR, REST_S))


class Dispatcher:
    def __init__(
        self, subscriptions: Subscriptions, deliveries: Deliveries, sender: Sender, health: EndpointHealth
    ) -> None:
        self._subscriptions = subscriptions
        self._deliveries = deliveries
        self._sender = sender
        self._health = health
        self._slots = asyncio.Semaphore(LANES)
        self._served: dict[str, Served] = {}
        # The last endpoint of the look before, if there was more behind it.
        self._after = ""
        self._looks_from = time.monotonic()
        self._single = 0

    async def round(self) -> int:
        """Begins to serve endpoints, and returns how many. Raises ApiError while MongoDB is away."""
        started = await self._failing()
        started += await (self._looks() if time.monotonic() >= self._looks_from else self._single_looks())
        oldest = min((each.oldest for each in self._served.values()), default=None)
        WEBHOOK_OLDEST.set((datetime.now(UTC) - oldest).total_seconds() if oldest is not None else 0.0)
        return started

    async def end(self) -> None:
        """What is under way is tried again when its lease has passed."""
        await end_tasks([each.task for each in self._served.values()])

    async def _looks(self) -> int:
        """How many endpoints it began to serve."""
        began, started, looks, is_full = time.monotonic(), 0, 0, True
        while is_full and looks < LOOKS and time.monotonic() - began < SLOW_S:
            looks += 1
            count, is_full = await self._look()
            started += count
        if (took := time.monotonic() - began) > SLOW_S:
            self._looks_from = time.monotonic() + min(took * LOOKS_SHARE, LONGEST_PAUSE_S)
        return started

    async def _single_looks(self) -> int:
        """At some of the endpoints that are well, in turn."""
        healthy, rows = self._subscriptions.healthy(), list[Document]()
        first = self._single % max(1, len(healthy))
        self._single = first + SINGLE_LOOKS
        for endpoint in [*healthy[first:], *healthy[:first]][:SINGLE_LOOKS]:
            if self._has_room(endpoint):
                rows += await self._deliveries.due_of(endpoint.id, CANDIDATES)
        return self._begin(rows)

    async def _look(self) -> tuple[int, bool]:
        """One look at what is due: how many endpoints it began to serve, and whether there may be more."""
        failing = [each.id for each in self._subscriptions.failing()]
        full = [workspace for workspace, count in self._busy().items() if count >= ENDPOINTS_OF_WORKSPACE]
        rows = await self._deliveries.due(CANDIDATES, self._after, [*self._served, *failing], full)
        is_full = len(rows) == CANDIDATES
        is_all = not is_full and not self._after
        self._after = rows[-1]["endpoint"] if is_full else ""
        return self._begin(rows), not is_all

    async def _failing(self) -> int:
        """Endpoints that fail: what was asked for as a test, and one delivery of each that has rested."""
        failing = {each.id: each for each in self._subscriptions.failing()}
        if not failing:
            return 0
        rows = [row for row in await self._deliveries.tests_due(CANDIDATES) if row["endpoint"] in failing]
        tested = {row["endpoint"] for row in rows}
        for endpoint in failing.values():
            if endpoint.id not in tested and self._has_room(endpoint) and await self._health.begins_try(endpoint):
                rows += await self._deliveries.due_of(endpoint.id, 1)
        return self._begin([row for row in rows if row["endpoint"] not in self._served])

    def _has_room(self, endpoint: Endpoint) -> bool:
        return endpoint.id not in self._served and self._busy()[endpoint.workspace] < ENDPOINTS_OF_WORKSPACE

    def _busy(self) -> Counter[str]:
        return Counter(each.workspace for each in self._served.values())

    def _begin(self, rows: Sequence[Document]) -> int:
        """Serves the endpoints of these deliveries, those first whose deliveries have been due for the longest time."""
        busy, waiting, started = self._busy(), defaultdict[tuple[str, str], list[Document]](list), 0
        for row in sorted(rows, key=lambda row: row["dueAt"]):
            waiting[row["workspace"], row["endpoint"]].append(row)
        for (workspace, endpoint_id), mine in waiting.items():
            if busy[workspace] < ENDPOINTS_OF_WORKSPACE:
                busy[workspace] += 1
                started += 1
                lanes = list(dict.fromkeys(row["lane"] for row in mine))
                task = asyncio.create_task(self._serve(workspace, endpoint_id, lanes), name=f"webhook {endpoint_id}")
                self._served[endpoint_id] = Served(workspace, min(row["createdAt"] for row in mine), task)
        return started

    async def _serve(self, workspace: str, endpoint_id: str, lanes: Sequence[str]) -> None:
        try:
            with _postponed(endpoint_id):
                await self._lanes(workspace, endpoint_id, lanes)
        except Exception:
            log.exception("webhooks_failed", endpoint=endpoint_id)
        finally:
            del self._served[endpoint_id]

    async def _lanes(self, workspace: str, endpoint_id: str, lanes: Sequence[str]) -> None:
        """Of an endpoint that fails, a single one: one try tells whether it is well again, and the others rest."""
        own = asyncio.Semaphore(LANES_OF_ENDPOINT)

        async def serve(lane: str) -> None:
            async with own, self._slots:
                if lane == lanes[0] or not self._fails(workspace, endpoint_id):
                    with _postponed(endpoint_id):
                        await self._sender.lane(workspace, endpoint_id, lane)

        async with asyncio.TaskGroup() as group:
            for lane in lanes:
                group.create_task(serve(lane))

    def _fails(self, workspace: str, endpoint_id: str) -> bool:
        endpoint = self._subscriptions.endpoint(workspace, endpoint_id)
        return endpoint is not None and endpoint.failing_since is not None
