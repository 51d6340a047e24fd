"""API keys: their scopes, their format, and the principal that a key stands for."""

import hashlib
import re
import secrets
import zlib
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field

from shared.contracts.schema import NAME_PATTERN, Schema, Time
from shared.contracts.widget import Visitor

MAX_LABEL: Final = 200
MAX_WEIGHT: Final = 100
DIGEST_PATTERN: Final = r"^[0-9a-f]{64}$"
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM: Final = 43
_CHECKSUM: Final = 6
_CHECKED = re.compile(rf"parley_(?:sk|pk)_(?:live|test)_[0-9A-Za-z]{{{_RANDOM + _CHECKSUM}}}")
_UNCHECKED = re.compile(r"parley_(?:sk|pk)_(?:live|test)_[A-Za-z0-9_\-]{43}")


class Scope(StrEnum):
    CHAT_READ = "chat:read"
    CHAT_WRITE = "chat:write"
    AGENTS_READ = "agents:read"
    AGENTS_WRITE = "agents:write"
    KEYS_WRITE = "keys:write"
    USAGE_READ = "usage:read"
    BUDGETS_WRITE = "budgets:write"
    AUDIT_READ = "audit:read"
    ENDUSERS_WRITE = "endusers:write"
    WEBHOOKS_WRITE = "webhooks:write"
    CHAT_PUBLIC = "chat:public"


# What each scope opens, for the reference.
SCOPES: Final[dict[Scope, str]] = {
    Scope.CHAT_READ: "read sessions, turns, streams, stored completions and models",
    Scope.CHAT_WRITE: "create and end sessions, post messages and completions",
    Scope.AGENTS_READ: "read agents, their versions and their knowledge",
    Scope.AGENTS_WRITE: "create, change, publish and delete agents",
    Scope.KEYS_WRITE: "list, create, change, rotate and revoke keys",
    Scope.USAGE_READ: "read usage and budgets",
    Scope.BUDGETS_WRITE: "set and remove budgets",
    Scope.AUDIT_READ: "read the audit records",
    Scope.ENDUSERS_WRITE: "export and erase the data of end users",
    Scope.WEBHOOKS_WRITE: "manage webhooks",
    Scope.CHAT_PUBLIC: "the widget's routes; only publishable keys hold it, and they hold nothing else",
}
# All that a secret key can hold.
SECRET_SCOPES: Final = frozenset(Scope) - {Scope.CHAT_PUBLIC}
Environment = Literal["live", "test"]
KeyKind = Literal["sk", "pk"]


def known_scopes(scopes: Any) -> Any:
    """Leaves out the scopes of a newer release: a process of this one has no route for them."""
    known = frozenset(Scope)
    return [scope for scope in scopes if scope in known] if isinstance(scopes, (list, tuple)) else scopes


class Principal(Schema):
    """Who calls, as a key's digest resolves. `retry_guard` attaches an SDK's blind retry to the turn it repeats.

    A publishable key has an `agent_id` and `allowed_origins`, and so has a visitor, whose token such a key made.
    `rate_limit_rpm` and `max_concurrent_turns` replace the gateway's own limits. `weight` is the key's share of the
    workers when turns wait.
    """

    key_id: str
    workspace: str
    scopes: Annotated[frozenset[Scope], BeforeValidator(known_scopes)]
    expires_at: Time | None = None
    retry_guard: bool = False
    agent_id: str | None = None
    allowed_origins: tuple[str, ...] = ()
    rate_limit_rpm: int | None = None
    weight: int = 1
    max_concurrent_turns: int | None = None
    visitor: Visitor | None = None


class NewKey(Schema):
    """`name` is the label that people give a key."""

    workspace: str = Field(pattern=f"^{NAME_PATTERN}$")
    name: str = Field(default="", max_length=MAX_LABEL)
    scopes: frozenset[Scope]
    environment: Environment = "live"
    expires_at: Time | None = None
    retry_guard: bool = False
    weight: int = Field(default=1, ge=1, le=MAX_WEIGHT)
    rate_limit_rpm: int | None = None
    max_concurrent_turns: int | None = None
    created_by: str | None = None


class Publishable(Schema):
    """What only a publishable key has: its agent, the origins that may use it, and its own limits."""

    agent_id: str
    allowed_origins: tuple[str, ...]
    rate_limit_rpm: int | None = None
    daily_tokens: int | None = None


class StoreKey(NewKey):
    """A new key as history stores it. The caller makes id and secret, so that a repeated order stores one key."""

    id: str = Field(pattern=f"^{NAME_PATTERN}$")
    digest: str = Field(pattern=DIGEST_PATTERN)
    publishable: Publishable | None = None


class CreatedKey(Schema):
    """The only time that the secret is shown: history stores its digest and never receives the secret."""

    id: str
    secret: str = Field(repr=False)


def new_secret(environment: Environment, kind: KeyKind = "sk") -> str:
    """`parley_sk_live_<43 random characters><6 of checksum>`: 256 random bits, so its digest needs no slow hash.

    `pk` makes a publishable key.
    """
    head = f"parley_{kind}_{environment}_" + "".join(secrets.choice(_DIGITS) for _ in range(_RANDOM))
    return head + _checksum(head)


def is_secret(text: str) -> bool:
    """Whether the text can be a key at all. The checksum refuses a guessed or mistyped key without a lookup.

    Keys made before the checksum existed have 43 characters of URL-safe base 64 instead.
    """
    if _CHECKED.fullmatch(text) is not None:
        return _checksum(text[:-_CHECKSUM]) == text[-_CHECKSUM:]
    return _UNCHECKED.fullmatch(text) is not None


def _checksum(text: str) -> str:
    """CRC-32 in base 62, as scanners for leaked secrets know it."""
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(_CHECKSUM):
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits


def digest_of(secret: str) -> str:
    """SHA-256 in hexadecimal: all that is stored of a key, and what it is looked up by."""
    return hashlib.sha256(secret.encode()).hexdigest()
