"""Endpoints of a workspace: made, changed, rotated, removed, tested. Each change is in the audit."""

import secrets
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from services.history.audit.records import PENDING, Audit, audit_entry
from services.history.mongo.client import Database
from services.history.mongo.dialect import IdField
from services.history.mongo.errors import Duplicate
from services.history.mongo.filters import Document, above
from services.history.webhooks.deliveries import Deliveries
from services.history.webhooks.payloads import Place
from services.history.webhooks.subscriptions import Subscriptions, endpoint_of
from shared.contracts.errors import ApiError, Code
from shared.contracts.schema import rfc3339
from shared.contracts.webhooks import (
    MAX_ENDPOINTS,
    TEST_EVENT,
    ChangeWebhook,
    Delivery,
    NewWebhook,
    Replayed,
    RotateWebhook,
    StoreWebhook,
    Webhook,
)
from shared.ids import new_id
from shared.secrets import SecretBox, SecretsUnavailable
from shared.web.guard_rules import OutgoingPolicy, UrlRefused
from shared.web.stored_urls import checked_stored_url
from shared.webhook_signature import PREFIX

_IDS: Final = IdField("_id", "whk")
SECRET_BYTES: Final = 32
ROUNDS: Final = 20
# Dead letters of one request.
MAX_REPLAYED: Final = 1_000


class Webhooks:
    def __init__(
        self,
        database: Database,
        audit: Audit,
        subscriptions: Subscriptions,
        deliveries: Deliveries,
        box: SecretBox,
        policy: OutgoingPolicy,
    ) -> None:
        self._webhooks = database.webhooks
        self._audit = audit
        self._subscriptions = subscriptions
        self._deliveries = deliveries
        self._box = box
        self._policy = policy

    async def create(self, workspace: str, order: StoreWebhook) -> NewWebhook:
        """Raises `validation_failed` for an address that no call may have, and beyond the number of endpoints."""
        self._require_address(order.url)
        rows = await self._webhooks.many({"workspace": workspace}, fields={"_id": 1}, limit=MAX_ENDPOINTS)
        if len(rows) >= MAX_ENDPOINTS:
            detail = f"A workspace has at most {MAX_ENDPOINTS} webhooks. Delete one first."
            raise ApiError(Code.VALIDATION_FAILED, detail)
        secret, sealed = self._new_secret(workspace)
        row: Document = {
            "_id": order.id,
            "workspace": workspace,
            "url": order.url,
            "events": list(order.events),
            "description": order.description,
            "enabled": True,
            "secret": sealed,
            "createdAt": datetime.now(UTC),
            PENDING: [audit_entry("webhook.created", order.id, order.actor)],
        }
        try:
            await self._webhooks.insert(row)
        except Duplicate:
            # The answer with the first secret was lost, so it is replaced.
            return await self.rotate(workspace, order.id, RotateWebhook(grace_s=0, actor=order.actor))
        await self._changed(row)
        return NewWebhook(**_members(row), secret=secret)

    async def get(self, workspace: str, webhook_id: str) -> Webhook:
        """Raises `not_found`."""
        return Webhook(**_members(await self._row(workspace, webhook_id)))

    async def page(self, workspace: str, before: str | None, limit: int) -> tuple[list[Webhook], str | None]:
        """The newest first, and the id to continue from."""
        rows, following = await self._webhooks.page({"workspace": workspace}, _IDS, "desc", before, limit)
        return [Webhook(**_members(row)) for row in rows], following

    async def change(self, workspace: str, webhook_id: str, order: ChangeWebhook) -> Webhook:
        """Raises `not_found` and `validation_failed`."""
        given = order.model_fields_set - {"actor"}
        members: Document = {name: getattr(order, name) for name in sorted(given) if getattr(order, name) is not None}
        if "url" in members:
            self._require_address(members["url"])
        if "events" in members:
            members["events"] = list(members["events"])
        if members:
            entry = audit_entry("webhook.changed", webhook_id, order.actor, fields=sorted(members))
            change: Document = {"$set": members, "$push": {PENDING: entry}}
            if "enabled" in members or "url" in members:
                change["$unset"] = dict.fromkeys(("disabledReason", "disabledAt", "failingSince", "restUntil"), "")
            await self._webhooks.update({"_id": webhook_id, "workspace": workspace}, change)
        row = await self._row(workspace, webhook_id)
        await self._changed(row)
        return Webhook(**_members(row))

    async def rotate(self, workspace: str, webhook_id: str, order: RotateWebhook) -> NewWebhook:
        """A new secret. The old one signs too until the end of the grace. Raises `not_found`."""
        secret, sealed = self._new_secret(workspace)
        entry = audit_entry("webhook.rotated", webhook_id, order.actor, graceS=order.grace_s)
        for _ in range(ROUNDS):
            row = await self._row(workspace, webhook_id)
            members: Document = {"secret": sealed}
            change: Document = {"$set": members, "$push": {PENDING: entry}}
            if order.grace_s:
                until = datetime.now(UTC) + timedelta(seconds=order.grace_s)
                members |= {"oldSecret": row["secret"], "oldUntil": until}
            else:
                change["$unset"] = {"oldSecret": "", "oldUntil": ""}
            where = {"_id": webhook_id, "workspace": workspace, "secret": row["secret"]}
            if await self._webhooks.update(where, change):
                row = await self._row(workspace, webhook_id)
                await self._changed(row)
                return NewWebhook(**_members(row), secret=secret)
        raise ApiError(Code.OVERLOADED)

    async def remove(self, workspace: str, webhook_id: str, actor: str | None = None) -> None:
        """With all its deliveries. Raises `not_found`, also when it is asked again.

        Deliveries that a killed process leaves are given up by the sender, and go at the end of their time. The audit's
        record is written first: the document, which would bring it, is deleted.
        """
        row = await self._webhooks.one({"_id": webhook_id, "workspace": workspace})
        if row is None:
            raise ApiError(Code.NOT_FOUND)
        await self._audit.record(workspace, audit_entry("webhook.deleted", webhook_id, actor))
        await self._audit.deliver(self._webhooks, row)
        await self._webhooks.delete({"_id": webhook_id, "workspace": workspace})
        await self._subscriptions.refresh()
        await self._deliveries.forget(webhook_id)

    async def test(self, workspace: str, webhook_id: str) -> Delivery:
        """A delivery of an event that means nothing. It is tried once, within about a second. Raises `not_found`."""
        row, event_id = await self._row(workspace, webhook_id), new_id("evt")
        said = {"type": TEST_EVENT, "timestamp": rfc3339(datetime.now(UTC)), "data": {"webhookId": webhook_id}}
        place = Place(event_id, event_id)
        await self._deliveries.add([endpoint_of(row)], event_id, TEST_EVENT, place, orjson.dumps(said))
        return await self._deliveries.one(workspace, webhook_id, event_id)

    async def replay(self, workspace: str, webhook_id: str, event_id: str | None = None) -> Replayed:
        """One delivery, or dead letters, the oldest first. Raises `not_found`."""
        await self._row(workspace, webhook_id)
        # Whoever asks has mended the receiver: an endpoint that rests is tried at once.
        await self._webhooks.update({"_id": webhook_id, "workspace": workspace}, {"$unset": {"restUntil": ""}})
        if event_id is None:
            return await self._deliveries.replay_dead(workspace, webhook_id, MAX_REPLAYED)
        await self._deliveries.one(workspace, webhook_id, event_id)
        return Replayed(replayed=await self._deliveries.replay(workspace, webhook_id, event_id))

    async def reconcile(self, limit: int = 100) -> None:
        """Delivers audit entries that did not reach their collection."""
        for row in await self._webhooks.many({f"{PENDING}.id": above("")}, limit=limit):
            await self._audit.deliver(self._webhooks, row)

    def _new_secret(self, workspace: str) -> tuple[str, str]:
        """The secret, and its sealed form. Raises `validation_failed` on a server that cannot seal."""
        secret = PREFIX + b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
        try:
            return secret, self._box.seal(workspace, secret)
        except SecretsUnavailable as error:
            raise ApiError(Code.VALIDATION_FAILED, f"A webhook has a signing secret: {error}.") from None

    def _require_address(self, url: str) -> None:
        """What can be told without a look-up. The address itself is checked at each call."""
        try:
            checked, is_listed = checked_stored_url(url, self._policy)
            if checked.scheme != "https" and not is_listed:
                raise UrlRefused("the URL must start with https://")
        except UrlRefused as error:
            fault = {"field": "url", "message": str(error)}
            raise ApiError(Code.VALIDATION_FAILED, errors=[fault]) from None

    async def _row(self, workspace: str, webhook_id: str) -> Document:
        row = await self._webhooks.one({"_id": webhook_id, "workspace": workspace})
        if row is None:
            raise ApiError(Code.NOT_FOUND)
        return row

    async def _changed(self, row: Document) -> None:
        await self._subscriptions.refresh()
        await self._audit.deliver(self._webhooks, row)


def _members(row: Document) -> dict[str, Any]:
    shown = ("url", "events", "description", "enabled", "disabledReason", "disabledAt", "failingSince", "createdAt")
    return {"id": row["_id"], **{name: row[name] for name in shown if name in row}}
