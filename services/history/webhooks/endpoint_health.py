"""How an endpoint does: since when it fails, when it is tried next, and when that is too long.

An endpoint that is disabled gets no events; the audit, the metric and its own document say so.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from services.history.audit.records import PENDING, Audit, audit_entry
from services.history.metrics import WEBHOOKS_DISABLED
from services.history.mongo.client import Database
from services.history.webhooks.subscriptions import Endpoint
from shared.contracts.schema import rfc3339
from shared.log import get_logger

log = get_logger()

GONE: Final = "It answered 410: it is gone."


class EndpointHealth:
    """`rest`: how long an endpoint that fails is left alone at most, whatever waits for it.

    The time is in the endpoint's document and not in its deliveries: a hundred thousand of them rest with one write.
    """

    def __init__(self, database: Database, audit: Audit, disable_after_s: float, rest: timedelta) -> None:
        self._webhooks = database.webhooks
        self._audit = audit
        self._disable_after = timedelta(seconds=disable_after_s)
        self._rest = rest

    async def is_off(self, workspace: str, endpoint_id: str) -> bool:
        row = await self._webhooks.one({"_id": endpoint_id, "workspace": workspace}, {"enabled": 1})
        return row is None or not row["enabled"]

    async def begins_try(self, endpoint: Endpoint) -> bool:
        """Whether an endpoint that fails may be tried now, by this process. It then rests again."""
        now = datetime.now(UTC)
        if endpoint.rest_until is not None and endpoint.rest_until > now:
            return False
        known = {"_id": endpoint.id, "workspace": endpoint.workspace, "restUntil": endpoint.rest_until}
        return await self._webhooks.update(known, {"$set": {"restUntil": now + self._rest}})

    async def succeeded(self, endpoint: Endpoint) -> None:
        if endpoint.failing_since is not None:
            where = {"_id": endpoint.id, "workspace": endpoint.workspace}
            await self._webhooks.update(where, {"$unset": {"failingSince": "", "restUntil": ""}})

    async def failed(self, endpoint: Endpoint, *, is_gone: bool, due: datetime | None = None) -> None:
        """`due`: when the delivery that failed is tried again; a first rest is no longer than that."""
        now, since = datetime.now(UTC), endpoint.failing_since
        where = {"_id": endpoint.id, "workspace": endpoint.workspace, "enabled": True}
        if since is None and not is_gone:
            rests = {"failingSince": now, "restUntil": min(due or now, now + self._rest)}
            await self._webhooks.update({**where, "failingSince": None}, {"$set": rests})
            return
        if not is_gone and since is not None and now - since < self._disable_after:
            return
        reason = GONE if is_gone or since is None else f"No delivery has succeeded since {rfc3339(since)}."
        entry = audit_entry("webhook.disabled", endpoint.id, None, reason=reason)
        change = {"$set": {"enabled": False, "disabledReason": reason, "disabledAt": now}, "$push": {PENDING: entry}}
        if await self._webhooks.update(where, change):
            WEBHOOKS_DISABLED.inc()
            log.error("webhook_disabled", endpoint=endpoint.id, reason=reason)
