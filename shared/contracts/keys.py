"""API keys: their scopes, their format, and the principal that a key stands for."""

import hashlib
import re
import secrets
import zlib
from enum import StrEnum
from typing import Final, Literal

from pydantic import Field

from shared.contracts.schema import NAME_PATTERN, Schema, Time

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
    CHAT_PUBLIC = "chat:public"


class Principal(Schema):
    """Who calls, as a key's digest resolves. `retry_guard` attaches an SDK's blind retry to the turn it repeats."""

    key_id: str
    workspace: str
    scopes: frozenset[Scope]
    expires_at: Time | None = None
    retry_guard: bool = False


class NewKey(Schema):
    workspace: str = Field(pattern=f"^{NAME_PATTERN}$")
    name: str = ""
    scopes: frozenset[Scope]
    environment: Literal["live", "test"] = "live"
    expires_at: Time | None = None
    retry_guard: bool = False


class StoreKey(NewKey):
    """A new key as history stores it. The caller makes id and secret, so that a repeated order stores one key."""

    id: str = Field(pattern=f"^{NAME_PATTERN}$")
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")


class CreatedKey(Schema):
    """The only time that the secret is shown: history stores its digest and never receives the secret."""

    id: str
    secret: str = Field(repr=False)


def new_secret(environment: Literal["live", "test"]) -> str:
    """`parley_sk_live_<43 random characters><6 of checksum>`: 256 random bits, so its digest needs no slow hash."""
    head = f"parley_sk_{environment}_" + "".join(secrets.choice(_DIGITS) for _ in range(_RANDOM))
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
