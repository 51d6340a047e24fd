"""API keys: stored, resolved to the caller, rotated and revoked. Lists and changes are in `key_lists.py`."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from services.history.agents.agents import Agents
from services.history.audit.records import PENDING, Audit, audit_entry
from services.history.keys.documents import action, document_of, principal_of, selector
from services.history.mongo.client import Database
from services.history.mongo.errors import Duplicate
from services.history.mongo.filters import Document, above, present
from services.history.workspaces.workspaces import Workspaces
from shared.contracts.errors import ApiError, Code
from shared.contracts.key_records import RotateKey
from shared.contracts.keys import Principal, StoreKey
from shared.key_notices import KeyNotices
from shared.log import get_logger

log = get_logger()

USED_EVERY: Final = timedelta(minutes=1)
# Each round means that another caller rotated the key in between.
ROTATION_ROUNDS: Final = 20


class ApiKeys:
    """Only digests are stored. At most two secrets of a key work: the newest, and until `oldUntil` the one before."""

    def __init__(
        self, database: Database, agents: Agents, workspaces: Workspaces, audit: Audit, notices: KeyNotices
    ) -> None:
        self._keys = database.keys
        self._agents = agents
        self._workspaces = workspaces
        self._audit = audit
        self._notices = notices

    async def store(self, key: StoreKey) -> None:
        """May be repeated.

        Raises `validation_failed` for an id or a digest that another key has, `agent_not_found`, and `gone` for a
        workspace that was deleted.
        """
        if key.publishable is not None:
            await self._agents.find(key.workspace, key.publishable.agent_id)
        await self._workspaces.ensure(key.workspace)
        row = await self._inserted(key)
        try:
            # A deletion of the workspace that began in between may have passed the keys already.
            await self._workspaces.ensure(key.workspace)
        except ApiError as error:
            if error.code is Code.GONE:
                await self._keys.delete({"_id": key.id, "workspace": key.workspace})
            raise
        await self._audit.deliver(self._keys, row)

    async def announce(self, workspace: str, key_id: str) -> None:
        """Makes the gateways look up a key whose secret was known, and may have been refused, before it was stored."""
        await self._notices.publish(workspace, key_id)

    async def _inserted(self, key: StoreKey) -> Document:
        """The stored document, also when an earlier call stored it."""
        document = document_of(key, datetime.now(UTC))
        try:
            await self._keys.insert(document)
        except Duplicate:
            row = await self._keys.one({"_id": key.id, "workspace": key.workspace, "digest": key.digest})
            if row is None:
                raise ApiError(Code.VALIDATION_FAILED, "Another key has this id or digest.") from None
            return row
        return document

    async def resolve(self, digest: str) -> Principal:
        """An expired key resolves: the gateway tells its holder that it has expired. Raises `invalid_api_key`."""
        now = datetime.now(UTC)
        return await self._used(await self._keys.one({"digest": digest}) or await self._before_rotation(digest, now))

    async def principal(self, key_id: str) -> Principal:
        """The publishable key that a visitor's token or the widget's frame names. Raises `invalid_api_key`."""
        return await self._used(await self._keys.one({"_id": key_id, "agentId": present()}))

    async def _used(self, key: Document | None) -> Principal:
        if key is None or key.get("revokedAt") is not None:
            raise ApiError(Code.INVALID_API_KEY)
        if (agent_id := key.get("agentId")) is not None and not await self._agents.is_there(key["workspace"], agent_id):
            raise ApiError(Code.INVALID_API_KEY)
        await self._mark_used(key, datetime.now(UTC))
        return principal_of(key)

    async def _before_rotation(self, digest: str, now: datetime) -> Document | None:
        return await self._keys.one({"oldDigest": digest, "oldUntil": above(now)})

    async def _mark_used(self, key: Document, now: datetime) -> None:
        """A failure is logged only: the key is good."""
        used = key.get("lastUsedAt")
        if used is not None and now - used < USED_EVERY:
            return
        try:
            await self._keys.update({"_id": key["_id"], "workspace": key["workspace"]}, {"$max": {"lastUsedAt": now}})
        except ApiError as error:
            log.warning("key_use_not_written", key_id=key["_id"], code=str(error.code))

    async def revoke(self, workspace: str, key_id: str, agent_id: str | None = None, actor: str | None = None) -> None:
        """Idempotent. Raises `not_found` for a key that this workspace never had."""
        change = {
            "$set": {"revokedAt": datetime.now(UTC)},
            "$unset": {"oldDigest": "", "oldUntil": ""},
            "$push": {PENDING: audit_entry(action(agent_id is not None, "revoked"), key_id, actor)},
        }
        await self._keys.update(selector(workspace, key_id, agent_id), change)
        # A repeat publishes the notice again: the first may be lost.
        row = await self._keys.one({"_id": key_id, "workspace": workspace, "agentId": agent_id})
        if row is None:
            raise ApiError(Code.NOT_FOUND)
        await self._changed(row)

    async def rotate(self, workspace: str, key_id: str, order: RotateKey) -> Document:
        """The key with its new secret. May be repeated.

        A second rotation within the grace ends the grace of the oldest secret. Raises `not_found`.
        """
        for _ in range(ROTATION_ROUNDS):
            row = await self._keys.one(selector(workspace, key_id, order.agent_id))
            if row is None:
                raise ApiError(Code.NOT_FOUND)
            if order.digest in (row["digest"], row.get("oldDigest")):
                return row
            where = {**selector(workspace, key_id, order.agent_id), "digest": row["digest"]}
            if await self._keys.update(where, _rotation(row, order)):
                rotated = await self._keys.one({"_id": key_id, "workspace": workspace}) or row
                await self._changed(rotated)
                return rotated
        raise ApiError(Code.OVERLOADED)

    async def _changed(self, row: Document) -> None:
        await self._notices.publish(row["workspace"], row["_id"])
        await self._audit.deliver(self._keys, row)

    async def reconcile(self, limit: int = 100) -> None:
        """Delivers audit entries that did not reach their collection."""
        for row in await self._keys.many({f"{PENDING}.id": above("")}, limit=limit):
            await self._audit.deliver(self._keys, row)


def _rotation(row: Document, order: RotateKey) -> Document:
    now = datetime.now(UTC)
    entry = audit_entry(action(order.agent_id is not None, "rotated"), row["_id"], order.actor, graceS=order.grace_s)
    changed: dict[str, Any] = {"digest": order.digest, "rotatedAt": now}
    change: Document = {"$push": {PENDING: entry}}
    if order.grace_s:
        changed |= {"oldDigest": row["digest"], "oldUntil": now + timedelta(seconds=order.grace_s)}
    else:
        change["$unset"] = {"oldDigest": "", "oldUntil": ""}
    return {**change, "$set": changed}
