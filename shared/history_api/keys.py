"""API keys."""

from typing import Any

from shared.contracts.key_records import ChangeKey, KeyRecord, PublishableKeyRecord, RotateKey
from shared.contracts.keys import CreatedKey, NewKey, Principal, Publishable, StoreKey, digest_of, new_secret
from shared.history_api.transport import Transport
from shared.ids import new_id


class KeyCalls(Transport):
    """Secrets are made here, so that history never receives one."""

    async def resolve_key(self, digest: str) -> Principal:
        """Raises `invalid_api_key` for unknown and revoked keys alike."""
        return Principal.model_validate(await self._post("/keys/resolve", {"digest": digest}))

    async def create_key(self, key: NewKey, publishable: Publishable | None = None) -> CreatedKey:
        """Id and secret are made here, so a repeat stores the same key.

        Raises `agent_not_found` for a publishable key, and `gone` for a deleted workspace.
        """
        secret = new_secret(key.environment, "sk" if publishable is None else "pk")
        created = CreatedKey(id=new_id("key"), secret=secret)
        order = StoreKey(**key.model_dump(), id=created.id, digest=digest_of(secret), publishable=publishable)
        await self._post("/keys", order.wire())
        return created

    async def key_principal(self, key_id: str) -> Principal:
        """A publishable key by its id. Raises `invalid_api_key`, also for a key that was revoked."""
        return Principal.model_validate(await self._post("/keys/resolve-id", {"keyId": key_id}))

    async def keys(self, workspace: str, query: dict[str, str]) -> dict[str, Any]:
        """`{"items": [KeyRecord's wire…], "nextCursor"}`, newest first."""
        return await self._page(f"/workspaces/{workspace}/keys", query)

    async def publishable_keys(self, workspace: str, agent_id: str, query: dict[str, str]) -> dict[str, Any]:
        """`{"items": [PublishableKeyRecord's wire…], "nextCursor"}`, newest first. Raises `agent_not_found`."""
        return await self._page(f"/workspaces/{workspace}/agents/{agent_id}/publishable-keys", query)

    async def secret_key(self, workspace: str, key_id: str) -> KeyRecord:
        """Raises `not_found`."""
        return KeyRecord.model_validate(await self._get(f"/workspaces/{workspace}/keys/{key_id}"))

    async def publishable_key(self, workspace: str, agent_id: str, key_id: str) -> PublishableKeyRecord:
        """Raises `not_found`."""
        record = await self._get(f"/workspaces/{workspace}/keys/{key_id}", {"agentId": agent_id})
        return PublishableKeyRecord.model_validate(record)

    async def rotate_key(self, workspace: str, key_id: str, order: RotateKey) -> KeyRecord | PublishableKeyRecord:
        """Raises `not_found`."""
        record = await self._post(f"/workspaces/{workspace}/keys/{key_id}/rotate", order.wire())
        return (KeyRecord if order.agent_id is None else PublishableKeyRecord).model_validate(record)

    async def change_key(self, workspace: str, key_id: str, change: ChangeKey) -> KeyRecord | PublishableKeyRecord:
        """Raises `not_found`."""
        body = change.model_dump(mode="json", by_alias=True, exclude_unset=True)
        record = await self._call("PATCH", f"/workspaces/{workspace}/keys/{key_id}", body)
        return (KeyRecord if change.agent_id is None else PublishableKeyRecord).model_validate(record)

    async def revoke_key(
        self, workspace: str, key_id: str, *, agent_id: str | None = None, actor: str | None = None
    ) -> None:
        """`agent_id`: the agent of a publishable key. Raises `not_found`."""
        given = {"agentId": agent_id, "actor": actor}
        query = {name: value for name, value in given.items() if value is not None}
        await self._call("DELETE", f"/workspaces/{workspace}/keys/{key_id}", None, query)
