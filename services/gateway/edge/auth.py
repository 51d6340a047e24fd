"""From a request to its principal: the bearer key, looked up by digest, its record trusted for less than a second."""

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import Principal, Scope, digest_of

KNOWN_KEYS: Final = 10_000
_SECRET = re.compile(r"parley_(?:sk|pk)_[A-Za-z0-9_\-]{16,200}")
_LOOKS_LIKE_A_KEY = re.compile(r"parley_(?:sk|pk)_")
_KEY_PARAMETERS: Final = frozenset({"api_key", "apikey", "key", "access_token", "token"})

Resolve = Callable[[str], Awaitable[Principal]]


def bearer_secret(request: web.Request) -> str:
    """The key of the `Authorization` header. Raises `missing_api_key`, and `invalid_api_key` for whatever cannot be one."""
    given = request.headers.getall("Authorization", [])
    if not given:
        raise ApiError(Code.MISSING_API_KEY)
    scheme, _, secret = given[0].partition(" ")
    secret = secret.strip()
    if len(given) > 1 or scheme.lower() != "bearer" or _SECRET.fullmatch(secret) is None:
        raise ApiError(Code.INVALID_API_KEY)
    return secret


def refuse_key_in_url(query: Mapping[str, str]) -> None:
    """URLs end up in histories and logs; a key that came this way is not accepted even beside a good header."""
    for name, value in query.items():
        if name.lower() in _KEY_PARAMETERS or _LOOKS_LIKE_A_KEY.search(value):
            raise ApiError(
                Code.INVALID_REQUEST, "An API key belongs into the Authorization header, never into the URL."
            )


def require_scope(principal: Principal, scope: Scope) -> None:
    if scope not in principal.scopes:
        raise ApiError(
            Code.INSUFFICIENT_SCOPE, f"This needs a key with the scope {scope}.", members={"requiredScope": str(scope)}
        )


class KeyCache:
    """Principals by digest. Concurrent requests of one key ask history once; unknown keys are remembered like known ones.

    Fails closed: without history no key is accepted that was not seen within `ttl_s`, and the caller gets `dependency_unavailable`.
    """

    def __init__(self, resolve: Resolve, *, ttl_s: float, size: int = KNOWN_KEYS) -> None:
        self._resolve = resolve
        self._ttl_s = ttl_s
        self._size = size
        self._known: OrderedDict[str, tuple[float, Principal | None]] = OrderedDict()
        self._asking: dict[str, asyncio.Task[Principal | None]] = {}

    async def principal(self, secret: str) -> Principal:
        """Raises `invalid_api_key` (unknown and revoked alike), `expired_api_key`, `dependency_unavailable`."""
        digest = digest_of(secret)
        fresh_until, principal = self._known.get(digest, (0.0, None))
        if fresh_until <= time.monotonic():
            principal = await self._ask(digest)
        if principal is None:
            raise ApiError(Code.INVALID_API_KEY)
        if principal.expires_at is not None and principal.expires_at <= datetime.now(UTC):
            raise ApiError(Code.EXPIRED_API_KEY)
        return principal

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
            principal: Principal | None = await self._resolve(digest)
        except ApiError as error:
            if error.code is not Code.INVALID_API_KEY:
                raise
            principal = None
        self._known[digest] = (fresh_until, principal)
        self._known.move_to_end(digest)
        if len(self._known) > self._size:
            self._known.popitem(last=False)
        return principal
