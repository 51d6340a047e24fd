"""API keys: only digests are stored, and a digest resolves to the caller."""

from datetime import UTC, datetime

from services.history.mongo.client import Database
from services.history.mongo.errors import Duplicate
from services.history.mongo.filters import Document
from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import Principal, StoreKey


class ApiKeys:
    def __init__(self, database: Database) -> None:
        self._keys = database.keys

    async def store(self, key: StoreKey) -> None:
        """May be repeated. Raises `validation_failed` for an id or a digest that another key has."""
        document: Document = {
            "_id": key.id,
            "workspace": key.workspace,
            "name": key.name,
            "scopes": sorted(key.scopes),
            "environment": key.environment,
            "digest": key.digest,
            "expiresAt": key.expires_at,
            "retryGuard": key.retry_guard,
            "createdAt": datetime.now(UTC),
        }
        try:
            await self._keys.insert(document)
        except Duplicate:
            same = {"_id": key.id, "workspace": key.workspace, "digest": key.digest}
            if await self._keys.one(same, {"_id": 1}) is None:
                raise ApiError(Code.VALIDATION_FAILED, "Another key has this id or digest.") from None

    async def resolve(self, digest: str) -> Principal:
        """An expired key resolves: the gateway tells its holder that it has expired. Raises `invalid_api_key`."""
        key = await self._keys.one({"digest": digest})
        if key is None or key.get("revokedAt") is not None:
            raise ApiError(Code.INVALID_API_KEY)
        return Principal.model_validate({**key, "keyId": key["_id"]})

    async def revoke(self, workspace: str, key_id: str) -> None:
        """Idempotent. Raises `not_found` for a key that this workspace never had."""
        where = {"_id": key_id, "workspace": workspace}
        if not await self._keys.update(where, {"$min": {"revokedAt": datetime.now(UTC)}}):
            raise ApiError(Code.NOT_FOUND)
