"""Principals by the digest of their key, remembered for less than a second; unknown keys are remembered apart."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final, TypeVar

from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import Principal

KNOWN_KEYS: Final = 10_000
UNKNOWN_KEYS: Final = 10_000

V = TypeVar("V")
Resolve = Callable[[str], Awaitable[Principal]]


class KeyCache:
    """Concurrent requests of one key ask history once. Unknown keys cannot evict good ones: they have a cache of their own.

    Fails closed: without history no key is accepted that was not seen within `ttl_s`; the caller gets
    `dependency_unavailable`.
    """

    def __init__(self, resolve: Resolve, *, ttl_s: float, size: int = KNOWN_KEYS, unknown: int = UNKNOWN_KEYS) -> None:
        self._resolve = resolve
        self._ttl_s = ttl_s
        self._sizes = size, unknown
        self._good: OrderedDict[str, tuple[float, Principal]] = OrderedDict()
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._asking: dict[str, asyncio.Task[Principal | None]] = {}

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
        return await self._ask(digest)

    async def _ask(self, digest: str) -> Principal | None:
        task = self._asking.get(digest)
        if task is None:
            task = self._asking[digest] = asyncio.create_task(self._learn(digest))
            task.add_done_callback(lambda done: self._forget_question(digest, done))
        # One caller that goes away must not take the answer from the others.
        return await asyncio.shield(task)

    def _forget_question(self, digest: str, task: asyncio.Task[Principal | None]) -> None:
        self._asking.pop(digest, None)
        if not task.cancelled():
            task.exception()

    async def _learn(self, digest: str) -> Principal | None:
        # Counted from before the question, so that a revocation is never overlooked for longer than promised.
        fresh_until = time.monotonic() + self._ttl_s
        try:
            principal = await self._resolve(digest)
        except ApiError as error:
            if error.code is not Code.INVALID_API_KEY:
                raise
            self._good.pop(digest, None)
            _remember(self._unknown, self._sizes[1], digest, fresh_until)
            return None
        _remember(self._good, self._sizes[0], digest, (fresh_until, principal))
        return principal


def _remember(cache: OrderedDict[str, V], size: int, digest: str, value: V) -> None:
    """Puts the value last and drops the oldest one beyond `size`."""
    cache[digest] = value
    cache.move_to_end(digest)
    if len(cache) > size:
        cache.popitem(last=False)
