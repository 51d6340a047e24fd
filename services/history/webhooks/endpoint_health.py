"""How an endpoint does: since when it fails, and when that is too long.

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
    def __init__(self, database: Database, audit: Audit, disable_after_s: float) -> None:
        self._webhooks = database.webhooks
        self._audit = audit
        self._disable_after = timedelta(seconds=disable_after_s)

    async def is_off(self, workspace: str, endpoint_id: str) -> bool:
        row = await self._webhooks.one({"_id": endpoint_id, "workspace": workspace}, {"enabled": 1})
        return row is None or not row["enabled"]

    async def succeeded(self, endpoint: Endpoint) -> None:
        if endpoint.failing_since is not None:
            where = {"_id": endpoint.id, "workspace": endpoint.workspace}
            await self._webhooks.update(where, {"$unset": {"failingSince": ""}})

    async def failed(self, endpoint: Endpoint, *, is_gone: bool) -> None:
        now, since = datetime.now(UTC), endpoint.failing_since
        where = {"_id": endpoint.id, "workspace": endpoint.workspace, "enabled": True}
        if since is None and not is_gone:
            await self._webhooks.update({**where, "failingSince": None}, {"$set": {"failingSince": now}})
            return
        if not is_gone and since is not None and now - since < self._disable_after:
            return
        reason = GONE if is_gone or since is None else f"No delivery has succeeded since {rfc3339(since)}."
        entry = audit_entry("webhook.disabled", endpoint.id, None, reason=reason)
        change = {"$set": {"enabled": False, "disabledReason": reason, "disabledAt": now}, "$push": {PENDING: entry}}
        if await self._webhooks.update(where, change):
            WEBHOOKS_DISABLED.inc()
            log.error("webhook_disabled", endpoint=endpoint.id, reason=reason)
