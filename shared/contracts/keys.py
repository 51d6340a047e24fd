"""API keys: their scopes, how one is spelled, and who calls."""

import hashlib
import secrets
from enum import StrEnum
from typing import Literal

from pydantic import Field

from shared.contracts.schema import Schema, Time


class Scope(StrEnum):
    CHAT_READ = "chat:read"
    CHAT_WRITE = "chat:write"
    AGENTS_READ = "agents:read"
    AGENTS_WRITE = "agents:write"
    KEYS_WRITE = "keys:write"
    CHAT_PUBLIC = "chat:public"


class Principal(Schema):
    """Who calls: what a key's digest resolves to. `retry_guard` attaches an SDK's blind retry to the turn it repeats."""

    key_id: str
    workspace: str
    scopes: frozenset[Scope]
    expires_at: Time | None = None
    retry_guard: bool = False


class NewKey(Schema):
    workspace: str
    name: str = ""
    scopes: frozenset[Scope]
    environment: Literal["live", "test"] = "live"
    expires_at: Time | None = None
    retry_guard: bool = False


class CreatedKey(Schema):
    """The only time the secret is seen: history keeps its digest."""

    id: str
    secret: str = Field(repr=False)


def new_secret(environment: Literal["live", "test"]) -> str:
    """256 random bits: `parley_sk_live_…`. A digest of such a key needs no slow hash."""
    return f"parley_sk_{environment}_{secrets.token_urlsafe(32)}"


def digest_of(secret: str) -> str:
    """SHA-256 in hexadecimal: all that is stored and looked up."""
    return hashlib.sha256(secret.encode()).hexdigest()
