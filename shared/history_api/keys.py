"""API keys."""

from shared.contracts.keys import CreatedKey, NewKey, Principal, StoreKey, digest_of, new_secret
from shared.history_api.transport import Transport
from shared.ids import new_id


class KeyCalls(Transport):
    async def resolve_key(self, digest: str) -> Principal:
        """Raises `invalid_api_key` for unknown and revoked keys alike."""
        return Principal.model_validate(await self._post("/keys/resolve", {"digest": digest}))

    async def create_key(self, key: NewKey) -> CreatedKey:
        """Id and secret are made here, so a repeat stores the same key. The secret stays here."""
        created = CreatedKey(id=new_id("key"), secret=new_secret(key.environment))
        order = StoreKey(**key.model_dump(), id=created.id, digest=digest_of(created.secret))
        await self._post("/keys", order.wire())
        return created

    async def revoke_key(self, workspace: str, key_id: str) -> None:
        await self._call("DELETE", f"/workspaces/{workspace}/keys/{key_id}")
