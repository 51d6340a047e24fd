"""Which deliveries are tried at the same time: a bounded number of each endpoint and of each workspace.

An endpoint is served by a task of its own. Nobody waits for it but the deliveries behind it: a receiver may take all
its time, for ever, and holds up no other one.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from services.history.metrics import WEBHOOK_OLDEST
from services.history.mongo.filters import Document
from services.history.webhooks.deliveries import Deliveries
from services.history.webhooks.sender import FACTOR, Sender
from services.history.webhooks.subscriptions import Subscriptions
from shared.contracts.errors import ApiError
from shared.log import get_logger
from shared.tasks import end_tasks

log = get_logger()

CANDIDATES: Final = 500
LANES: Final = 64
LANES_OF_ENDPOINT: Final = 4
ENDPOINTS_OF_WORKSPACE: Final = 4
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


class Dispatcher:
    """`first_retry_s`: the pause before the second try of a delivery."""

    def __init__(
        self, subscriptions: Subscriptions, deliveries: Deliveries, sender: Sender, first_retry_s: float
    ) -> None:
        self._subscriptions = subscriptions
        self._deliveries = deliveries
        self._sender = sender
        self._rest = timedelta(seconds=min(first_retry_s * FACTOR, REST_S))
        self._slots = asyncio.Semaphore(LANES)
        self._served: dict[str, Served] = {}

    async def round(self) -> int:
        """Begins to serve endpoints, and returns how many. Raises ApiError while MongoDB is away."""
        served = Counter(each.workspace for each in self._served.values())
        full = [workspace for workspace, count in served.items() if count >= ENDPOINTS_OF_WORKSPACE]
        waiting = defaultdict[tuple[str, str], list[Document]](list)
        for row in await self._deliveries.due(CANDIDATES, list(self._served), full):
            waiting[row["workspace"], row["endpoint"]].append(row)
        started = 0
        for (workspace, endpoint_id), rows in waiting.items():
            if served[workspace] < ENDPOINTS_OF_WORKSPACE:
                served[workspace] += 1
                started += 1
                lanes = list(dict.fromkeys(row["lane"] for row in rows))
                task = asyncio.create_task(self._serve(workspace, endpoint_id, lanes), name=f"webhook {endpoint_id}")
                self._served[endpoint_id] = Served(workspace, min(row["createdAt"] for row in rows), task)
        oldest = min((each.oldest for each in self._served.values()), default=None)
        WEBHOOK_OLDEST.set((datetime.now(UTC) - oldest).total_seconds() if oldest is not None else 0.0)
        return started

    async def end(self) -> None:
        """What is under way is tried again when its lease has passed."""
        await end_tasks([each.task for each in self._served.values()])

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

        if self._fails(workspace, endpoint_id):
            await serve(lanes[0])
        else:
            async with asyncio.TaskGroup() as group:
                for lane in lanes:
                    group.create_task(serve(lane))
        if self._fails(workspace, endpoint_id):
            await self._deliveries.put_off_rest(endpoint_id, lanes[0], datetime.now(UTC) + self._rest)

    def _fails(self, workspace: str, endpoint_id: str) -> bool:
        endpoint = self._subscriptions.endpoint(workspace, endpoint_id)
        return endpoint is not None and endpoint.failing_since is not None
