"""Principals by the digest of their key, remembered for less than a second; unknown keys are remembered for longer."""

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

from cachetools import LRUCache

from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import Principal
from shared.key_notices import parse
from shared.single_flight import SingleFlight

KNOWN_KEYS: Final = 10_000
UNKNOWN_KEYS: Final = 10_000
# A key's secret exists only after the key was stored, so an unknown key stays unknown. A bootstrap key's secret is
# known before. A notice tells of it; this is the delay if the notice is lost.
UNKNOWN_S: Final = 60.0

Resolve = Callable[[str], Awaitable[Principal]]


class KeyCache:
    """Concurrent requests of one key ask history once. Unknown keys have their own cache and cannot evict good ones.

    Fails closed: without history no key is accepted that was not seen within `ttl_s`; the caller gets
    `dependency_unavailable`.
    """

    def __init__(self, resolve: Resolve, *, ttl_s: float, size: int = KNOWN_KEYS, unknown: int = UNKNOWN_KEYS) -> None:
        self._resolve = resolve
        self._ttl_s = ttl_s
        self._notices = 0
        self._good = LRUCache[str, tuple[float, Principal]](size)
        self._unknown = LRUCache[str, float](unknown)
        self._lookups = SingleFlight[str, Principal | None]()

    def deliver(self, message: bytes) -> None:
        """A notice that a key has changed, or all keys of a workspace: the next request looks it up again.

        Notices are rare, so none of the work of a lookup is spent on finding keys by their ids.
        """
        workspace, key_id = parse(message)
        self._forget_unknown()
        for digest, (_, principal) in list(self._good.items()):
            if principal.workspace == workspace and key_id in ("", principal.key_id):
                self._good[digest] = (0.0, principal)

    def lose(self) -> None:
        """Notices may have been missed. No record of a good key is trusted for longer than `ttl_s` anyway."""
        self._forget_unknown()

    def _forget_unknown(self) -> None:
        self._notices += 1
        self._unknown.clear()

    def was_good(self, digest: str) -> bool:
        """Whether this was the digest of a good key when it was last looked up, however long ago."""
        return digest in self._good

    async def principal(self, digest: str) -> Principal:
        """Raises `invalid_api_key` (unknown and revoked alike), `expired_api_key`, `dependency_unavailable`."""
        principal = await self._found(digest)
        if principal is None:
            raise ApiError(Code.INVALID_API_KEY)
        if principal.expires_at is not None and principal.expires_at <= datetime.now(UTC):
            raise ApiError(Code.EXPIRED_API_KEY)
        return principal

    async def _found(self, digest: str) -> Principal | None:
        now = time.monotonic()
        good = self._good.get(digest)
        if good is not None and good[0] > now:
            return good[1]
        if self._unknown.get(digest, 0.0) > now:
            return None
        return await self._lookups.run(digest, lambda: self._look_up(digest))

    async def _look_up(self, digest: str) -> Principal | None:
        # Counted from before the call, so that a revoked key is never accepted for longer than `ttl_s`.
        fresh_until, notices = time.monotonic() + self._ttl_s, self._notices
        try:
            principal = await self._resolve(digest)
        except ApiError as error:
            if error.code is not Code.INVALID_API_KEY:
                raise
            self._good.pop(digest, None)
            if notices == self._notices:
                self._unknown[digest] = time.monotonic() + UNKNOWN_S
            return None
        # A notice that came meanwhile may be about this key: the answer may be older than the change.
        self._good[digest] = (fresh_until if notices == self._notices else 0.0, principal)
        return principal
