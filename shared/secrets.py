"""Secrets of agents' tools: encrypted by history, decrypted by the worker that calls the tool, never shown.

The keys are Fernet keys. The first one encrypts and all of them decrypt. To rotate, put a new key in front. The old key
can be removed once no stored secret needs it.
"""

from collections.abc import Sequence
from typing import Final

import orjson
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from shared.contracts.endpoints import Secret

_URL_SAFE: Final = str.maketrans("+/", "-_")
_NO_KEYS: Final = "secrets cannot be stored: PARLEY_SECRETS_KEYS is not set"


class SecretsUnavailable(Exception):
    """There is no key, no value, or the value was sealed with other keys or for another workspace."""


class SecretBox:
    """Seals for one workspace at a time: what another workspace's author copies into an agent cannot be opened."""

    def __init__(self, keys: Sequence[str]) -> None:
        """A key is the base64 form of 32 bytes. Raises ValueError, which does not hold the key, for any other text."""
        try:
            fernets = [Fernet(key.translate(_URL_SAFE).encode()) for key in keys]
        except ValueError:
            raise ValueError("PARLEY_SECRETS_KEYS must hold keys of 32 bytes in base64, separated by commas") from None
        self._fernet = MultiFernet(fernets) if fernets else None

    def seal(self, workspace: str, value: str) -> str:
        """Raises SecretsUnavailable."""
        if self._fernet is None:
            raise SecretsUnavailable(_NO_KEYS)
        return self._fernet.encrypt(orjson.dumps([workspace, value])).decode()

    def open(self, workspace: str, secret: Secret) -> str:
        """Raises SecretsUnavailable, without the reason's detail."""
        if self._fernet is None:
            raise SecretsUnavailable(_NO_KEYS)
        try:
            owner, value = orjson.loads(self._fernet.decrypt((secret.sealed or "").encode()))
        except (InvalidToken, ValueError, TypeError):
            raise SecretsUnavailable("a secret cannot be read") from None
        if owner != workspace:
            raise SecretsUnavailable("a secret cannot be read")
        return str(value)

    def rotate(self, sealed: str) -> str:
        """The same secret under the first key. Raises SecretsUnavailable."""
        if self._fernet is None:
            raise SecretsUnavailable(_NO_KEYS)
        try:
            return self._fernet.rotate(sealed.encode()).decode()
        except InvalidToken:
            raise SecretsUnavailable("a secret cannot be read") from None

    def __repr__(self) -> str:
        return "SecretBox()"
