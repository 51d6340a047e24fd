"""API keys: only digests are stored, and a digest resolves to who calls."""

from datetime import UTC, datetime

from aiohttp import web
from pydantic import BaseModel

from services.history.api.bodies import WORKSPACE, part, read_schema
from services.history.mongo.client import Document, Store
from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import CreatedKey, NewKey, Principal, digest_of, new_secret
from shared.ids import new_id
from shared.web.bodies import json_response


class Digest(BaseModel):
    digest: str


class Keys:
    def __init__(self, store: Store) -> None:
        self._keys = store.keys

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/keys", self._post),
            web.post("/keys/resolve", self._post_resolve),
            web.delete(WORKSPACE + r"/keys/{key_id:[A-Za-z0-9_-]{1,64}}", self._delete),
        ]

    async def create(self, key: NewKey) -> CreatedKey:
        secret = new_secret(key.environment)
        document: Document = {
            "_id": new_id("key"),
            "workspace": key.workspace,
            "name": key.name,
            "scopes": sorted(key.scopes),
            "environment": key.environment,
            "digest": digest_of(secret),
            "expiresAt": key.expires_at,
            "retryGuard": key.retry_guard,
            "createdAt": datetime.now(UTC),
        }
        await self._keys.insert(document)
        return CreatedKey(id=document["_id"], secret=secret)

    async def resolve(self, digest: str) -> Principal:
        """An expired key resolves: the gateway tells its holder that it has expired. Raises `invalid_api_key`."""
        key = await self._keys.one({"digest": digest})
        if key is None or key.get("revokedAt") is not None:
            raise ApiError(Code.INVALID_API_KEY)
        return Principal.model_validate({**key, "keyId": key["_id"]})

    async def revoke(self, workspace: str, key_id: str) -> None:
        """Idempotent. Raises `not_found` for a key that this workspace never had."""
        if not await self._keys.update(
            {"_id": key_id, "workspace": workspace}, {"$min": {"revokedAt": datetime.now(UTC)}}
        ):
            raise ApiError(Code.NOT_FOUND)

    async def _post(self, request: web.Request) -> web.Response:
        key = await self.create(await read_schema(request, NewKey))
        return json_response(key.wire(), status=201)

    async def _post_resolve(self, request: web.Request) -> web.Response:
        return json_response((await self.resolve((await read_schema(request, Digest)).digest)).wire())

    async def _delete(self, request: web.Request) -> web.Response:
        await self.revoke(part(request, "workspace"), part(request, "key_id"))
        return web.Response(status=204)
