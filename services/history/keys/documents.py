"""The documents of keys, and how they are read. Pure.

Secret and publishable keys share a collection, because a digest must find either; a publishable key has an `agentId`.
"""

from datetime import datetime
from typing import Any

from services.history.audit.records import PENDING, audit_entry
from services.history.mongo.filters import Document, Where
from shared.contracts.key_records import KeyRecord, PublishableKeyRecord
from shared.contracts.keys import Principal, StoreKey


def document_of(key: StoreKey, now: datetime) -> Document:
    document: Document = {
        "_id": key.id,
        "workspace": key.workspace,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "environment": key.environment,
        "digest": key.digest,
        "expiresAt": key.expires_at,
        "retryGuard": key.retry_guard,
        "weight": key.weight,
        "rateLimitRpm": key.rate_limit_rpm,
        "maxConcurrentTurns": key.max_concurrent_turns,
        "createdAt": now,
        "createdBy": key.created_by,
        PENDING: [audit_entry(action(key.publishable is not None, "created"), key.id, key.created_by)],
    }
    if (own := key.publishable) is not None:
        document |= {
            "agentId": own.agent_id,
            "allowedOrigins": list(own.allowed_origins),
            "rateLimitRpm": own.rate_limit_rpm,
            "dailyTokens": own.daily_tokens,
            "dailyTokensAt": int(now.timestamp() * 1000),
        }
    return document


def action(publishable: bool, what: str) -> str:
    """The audit's name for what was done."""
    return f"{'publishable_key' if publishable else 'key'}.{what}"


def selector(workspace: str, key_id: str, agent_id: str | None) -> Where:
    """A key that was not revoked: a secret key, or with an agent one of its publishable keys."""
    return {"_id": key_id, "workspace": workspace, "agentId": agent_id, "revokedAt": None}


def principal_of(row: Document) -> Principal:
    return Principal.model_validate({**row, "keyId": row["_id"]})


def secret_key_of(row: Document) -> KeyRecord:
    own = {"scopes": row["scopes"], "retryGuard": row.get("retryGuard", False)}
    return KeyRecord.model_validate({**_shared(row), **own})


def publishable_key_of(row: Document) -> PublishableKeyRecord:
    own = {name: row.get(name) for name in ("agentId", "allowedOrigins", "dailyTokens")}
    return PublishableKeyRecord.model_validate({**_shared(row), **own})


def _shared(row: Document) -> dict[str, Any]:
    return {
        "id": row["_id"],
        "label": row.get("name", ""),
        "weight": row.get("weight", 1),
        "environment": row["environment"],
        "createdAt": row["createdAt"],
        "createdBy": row.get("createdBy"),
        "expiresAt": row.get("expiresAt"),
        "lastUsedAt": row.get("lastUsedAt"),
        "oldSecretUntil": row.get("oldUntil"),
        "rateLimitRpm": row.get("rateLimitRpm"),
        "maxConcurrentTurns": row.get("maxConcurrentTurns"),
    }
