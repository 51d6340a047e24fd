"""Lists of keys, and changes of keys."""

from datetime import UTC, datetime
from typing import Any, Final

from services.history.agents.agents import Agents
from services.history.audit.records import PENDING, Audit, audit_entry
from services.history.keys.documents import action, publishable_key_of, secret_key_of, selector
from services.history.mongo.client import Database
from services.history.mongo.dialect import IdField
from services.history.mongo.filters import Document
from shared.contracts.errors import ApiError, Code
from shared.contracts.key_records import ChangeKey, KeyRecord, PublishableKeyRecord
from shared.key_notices import KeyNotices

_IDS: Final = IdField("_id", "key")
# The members of a change, by their names in the document.
_MEMBERS: Final = {
    "label": "name",
    "allowed_origins": "allowedOrigins",
    "weight": "weight",
    "rate_limit_rpm": "rateLimitRpm",
    "max_concurrent_turns": "maxConcurrentTurns",
    "daily_tokens": "dailyTokens",
    "retry_guard": "retryGuard",
    "expires_at": "expiresAt",
}


class KeyLists:
    """Revoked keys are not listed; the audit knows of them."""

    def __init__(self, database: Database, agents: Agents, audit: Audit, notices: KeyNotices) -> None:
        self._keys = database.keys
        self._agents = agents
        self._audit = audit
        self._notices = notices

    async def one(self, workspace: str, key_id: str, agent_id: str | None) -> KeyRecord | PublishableKeyRecord:
        """A secret key, or with an agent one of its publishable keys. Raises `not_found`."""
        row = await self._keys.one(selector(workspace, key_id, agent_id))
        if row is None:
            raise ApiError(Code.NOT_FOUND)
        return _record(row)

    async def secret(self, workspace: str, before: str | None, limit: int) -> tuple[list[KeyRecord], str | None]:
        """The newest keys with an id below `before`, and the id to continue from."""
        where = {"workspace": workspace, "agentId": None, "revokedAt": None}
        rows, following = await self._keys.page(where, _IDS, "desc", before, limit)
        return [secret_key_of(row) for row in rows], following

    async def publishable(
        self, workspace: str, agent_id: str, before: str | None, limit: int
    ) -> tuple[list[PublishableKeyRecord], str | None]:
        """Raises `agent_not_found`."""
        await self._agents.find(workspace, agent_id)
        where = {"workspace": workspace, "agentId": agent_id, "revokedAt": None}
        rows, following = await self._keys.page(where, _IDS, "desc", before, limit)
        return [publishable_key_of(row) for row in rows], following

    async def change(self, workspace: str, key_id: str, change: ChangeKey) -> KeyRecord | PublishableKeyRecord:
        """Raises `not_found`."""
        where = selector(workspace, key_id, change.agent_id)
        named = [name for name in _MEMBERS if name in change.model_fields_set]
        given = {_MEMBERS[name]: _stored(getattr(change, name)) for name in named}
        if given:
            entry = audit_entry(
                action(change.agent_id is not None, "changed"), key_id, change.actor, fields=sorted(given)
            )
            at = {"dailyTokensAt": int(datetime.now(UTC).timestamp() * 1000)} if "dailyTokens" in given else {}
            await self._keys.update(where, {"$set": given | at, "$push": {PENDING: entry}})
        row = await self._keys.one(where)
        if row is None:
            raise ApiError(Code.NOT_FOUND)
        await self._notices.publish(workspace, key_id)
        await self._audit.deliver(self._keys, row)
        return _record(row)


def _record(row: Document) -> KeyRecord | PublishableKeyRecord:
    return secret_key_of(row) if row.get("agentId") is None else publishable_key_of(row)


def _stored(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
