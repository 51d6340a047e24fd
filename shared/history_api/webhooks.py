"""Webhooks and their deliveries."""

from typing import Any

from shared.contracts.webhooks import (
    ChangeWebhook,
    Delivery,
    NewWebhook,
    Replayed,
    RotateWebhook,
    StoreWebhook,
    Webhook,
)
from shared.history_api.transport import Transport


class WebhookCalls(Transport):
    """Each raises `not_found` for an endpoint that the workspace does not have."""

    async def create_webhook(self, workspace: str, order: StoreWebhook) -> NewWebhook:
        """Raises `validation_failed`."""
        return NewWebhook.model_validate(await self._call("POST", f"/workspaces/{workspace}/webhooks", order.wire()))

    async def webhooks(self, workspace: str, query: dict[str, str]) -> dict[str, Any]:
        """`{"items": [Webhook's wire…], "nextCursor"}`."""
        return await self._page(f"/workspaces/{workspace}/webhooks", query)

    async def webhook(self, workspace: str, webhook_id: str) -> Webhook:
        return Webhook.model_validate(await self._get(_path(workspace, webhook_id)))

    async def change_webhook(self, workspace: str, webhook_id: str, order: ChangeWebhook) -> Webhook:
        """Raises `validation_failed`."""
        return Webhook.model_validate(await self._call("PATCH", _path(workspace, webhook_id), order.wire()))

    async def rotate_webhook(self, workspace: str, webhook_id: str, order: RotateWebhook) -> NewWebhook:
        path = f"{_path(workspace, webhook_id)}/rotate-secret"
        return NewWebhook.model_validate(await self._call("POST", path, order.wire()))

    async def remove_webhook(self, workspace: str, webhook_id: str, actor: str | None = None) -> None:
        query = {"actor": actor} if actor is not None else None
        await self._call("DELETE", _path(workspace, webhook_id), None, query)

    async def test_webhook(self, workspace: str, webhook_id: str) -> Delivery:
        return Delivery.model_validate(await self._call("POST", f"{_path(workspace, webhook_id)}/test", {}))

    async def deliveries(self, workspace: str, webhook_id: str, query: dict[str, str]) -> dict[str, Any]:
        """`{"items": [Delivery's wire…], "nextCursor"}`. Raises `invalid_request`."""
        return await self._page(f"{_path(workspace, webhook_id)}/deliveries", query)

    async def replay(self, workspace: str, webhook_id: str, event_id: str | None = None) -> Replayed:
        """One delivery, or the oldest dead letters."""
        one = f"/deliveries/{event_id}" if event_id is not None else ""
        return Replayed.model_validate(await self._call("POST", f"{_path(workspace, webhook_id)}{one}/replay", {}))


def _path(workspace: str, webhook_id: str) -> str:
    return f"/workspaces/{workspace}/webhooks/{webhook_id}"
