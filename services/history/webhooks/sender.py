"""The sender: tries the deliveries of a lane, one after the other, and says when to try again.

A delivery is leased before it is tried, so that two processes do not send it at once as a rule; a receiver may still
get it twice, when a process dies between the answer and its storing. Standard Webhooks says: at least once, and the id
tells repeats.
"""

import asyncio
import random
import time
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from services.history.metrics import WEBHOOK_ATTEMPT_SECONDS, WEBHOOK_ATTEMPTS
from services.history.mongo.filters import Document
from services.history.settings import HistorySettings
from services.history.webhooks.deliveries import Deliveries
from services.history.webhooks.endpoint_health import EndpointHealth
from services.history.webhooks.subscriptions import Endpoint, Subscriptions
from shared.contracts.endpoints import Secret
from shared.contracts.webhooks import TEST_EVENT
from shared.log import get_logger
from shared.secrets import SecretBox, SecretsUnavailable
from shared.web.guarded_client import GuardedClient, Outgoing, OutgoingFailure
from shared.webhook_signature import signature_headers

log = get_logger()

# Deliveries of a lane in one go, and for how long: then it is the turn of the others.
RUN: Final = 50
RUN_S: Final = 30.0
FACTOR: Final = 4.0
LONGEST_S: Final = 14_400.0
LEASE_SLACK_S: Final = 10.0
GONE: Final = 410
DISABLED: Final = "The endpoint is disabled."


class Outcome(NamedTuple):
    """`error` None: the receiver has it."""

    error: str | None
    status: int | None = None
    retry_after_s: float = 0.0


class Sender:
    def __init__(
        self,
        subscriptions: Subscriptions,
        deliveries: Deliveries,
        health: EndpointHealth,
        box: SecretBox,
        client: GuardedClient,
        settings: HistorySettings,
    ) -> None:
        self._subscriptions = subscriptions
        self._deliveries = deliveries
        self._health = health
        self._box = box
        self._client = client
        self._timeout_s = settings.webhook_timeout_s
        self._first_retry_s = settings.webhook_retry_s
        self._give_up = timedelta(seconds=settings.webhook_give_up_s)

    async def lane(self, workspace: str, endpoint_id: str, lane: str) -> None:
        """Raises ApiError while MongoDB is away."""
        until = time.monotonic() + RUN_S
        for _ in range(RUN):
            if time.monotonic() > until:
                return
            row = await self._deliveries.head(endpoint_id, lane)
            if row is None:
                return
            now = datetime.now(UTC)
            endpoint = self._subscriptions.endpoint(workspace, endpoint_id)
            if endpoint is None:
                if await self._health.is_off(workspace, endpoint_id):
                    await self._deliveries.bury(row, DISABLED, was_tried=False)
                    continue
                return  # It is younger than the list.
            if row["dueAt"] > now or row["leaseUntil"] > now:
                # The head decides when the lane goes on.
                await self._deliveries.put_off(endpoint_id, lane, max(row["dueAt"], row["leaseUntil"]))
                return
            if not await self._deliveries.claim(row, now + timedelta(seconds=self._timeout_s + LEASE_SLACK_S)):
                return
            if not await self._tried(endpoint, row):
                return

    async def _tried(self, endpoint: Endpoint, row: Document) -> bool:
        """Whether the lane goes on."""
        outcome = await self._attempt(endpoint, row)
        if outcome.error is None:
            WEBHOOK_ATTEMPTS.labels("delivered").inc()
            await self._deliveries.delivered(row, outcome.status or 0)
            await self._health.succeeded(endpoint)
            return True
        now = datetime.now(UTC)
        since: datetime = row.get("again") or row["createdAt"]
        gives_up = now - since >= self._give_up or bool(row["type"] == TEST_EVENT)
        WEBHOOK_ATTEMPTS.labels("dead" if gives_up else "failed").inc()
        log.info("webhook_not_delivered", endpoint=endpoint.id, event_id=row["eventId"], error=outcome.error)
        pause = timedelta(seconds=max(self._pause_s(row["attempts"]), outcome.retry_after_s))
        due = None if gives_up else now + pause
        if due is None:
            await self._deliveries.bury(row, outcome.error, outcome.status)
        else:
            await self._deliveries.failed(row, outcome.error, outcome.status, due)
        if row["type"] != TEST_EVENT:
            await self._health.failed(endpoint, is_gone=outcome.status == GONE, due=due)
        return gives_up

    def _pause_s(self, attempts: int) -> float:
        """The first, four times as long each time, at most four hours; up to a fifth less, so that they spread."""
        longest = min(self._first_retry_s * FACTOR ** min(attempts, 20), LONGEST_S)
        return longest * random.uniform(0.8, 1.0)

    async def _attempt(self, endpoint: Endpoint, row: Document) -> Outcome:
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._post(endpoint, row)
        except TimeoutError:
            return Outcome(f"It did not answer within {self._timeout_s:g} seconds.")
        except (OutgoingFailure, SecretsUnavailable, ValueError) as error:
            return Outcome(str(error))
        finally:
            WEBHOOK_ATTEMPT_SECONDS.observe(time.monotonic() - began)

    async def _post(self, endpoint: Endpoint, row: Document) -> Outcome:
        body = row["body"].encode()
        headers = {"Content-Type": "application/json", **self._signed(endpoint, row["eventId"], body)}
        request = Outgoing(method="POST", url=endpoint.url, headers=headers, body=body)
        # The body of the answer stays unread: the status says all, and a receiver may send without end.
        async with self._client.open(request, redirects=0) as response:
            status = response.status
            if 200 <= status < 300:
                return Outcome(None, status)
            if 300 <= status < 400:
                return Outcome(f"It answered {status}: redirects are not followed.", status)
            return Outcome(f"It answered {status}.", status, _retry_after_s(response.headers.get("Retry-After", "")))

    def _signed(self, endpoint: Endpoint, event_id: str, body: bytes) -> dict[str, str]:
        now = datetime.now(UTC)
        secrets = [
            self._box.open(endpoint.workspace, Secret(sealed=sealed))
            for sealed, until in endpoint.sealed
            if until is None or until > now
        ]
        return signature_headers(secrets, event_id, int(now.timestamp()), body)


def _retry_after_s(text: str) -> float:
    return min(float(text), LONGEST_S) if text.isascii() and text.isdigit() and len(text) < 7 else 0.0
