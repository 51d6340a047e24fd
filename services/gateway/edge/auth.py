"""From a request to its principal: the bearer key, its shape and checksum, its record, its scopes."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from aiohttp import web

from services.gateway.edge import cors
from services.gateway.edge.client_address import Network, address_of
from services.gateway.edge.key_cache import KeyCache
from services.gateway.edge.rates import RequestRates
from services.gateway.edge.visitor_tokens import PREFIX, VisitorTokens
from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import Principal, Scope, digest_of, is_secret
from shared.contracts.origins import is_allowed
from shared.contracts.widget import Visitor
from shared.metrics import LIMITS_HIT

_LOOKS_LIKE_A_KEY = re.compile(r"parley_(?:sk|pk|vt)_")
_KEY_PARAMETERS: Final = frozenset({"api_key", "apikey", "key", "access_token", "token"})


def bearer_secret(request: web.Request) -> str:
    """The key of the `Authorization` header. Raises `missing_api_key`, or `invalid_api_key` for what cannot be one."""
    given = request.headers.getall("Authorization", [])
    if not given:
        raise ApiError(Code.MISSING_API_KEY, "The API key is missing. Send it as `Authorization: Bearer parley_sk_…`.")
    scheme, _, secret = given[0].partition(" ")
    secret = secret.strip()
    is_known = secret.startswith(PREFIX) or is_secret(secret)
    if len(given) > 1 or scheme.lower() != "bearer" or not is_known:
        raise ApiError(Code.INVALID_API_KEY)
    return secret


def refuse_key_in_url(query: Mapping[str, str]) -> None:
    """URLs end up in histories and logs, so a key in the URL is refused even beside a good header."""
    for name, value in query.items():
        if name.lower() in _KEY_PARAMETERS or _LOOKS_LIKE_A_KEY.search(value):
            raise ApiError(
                Code.INVALID_REQUEST, "Send the API key in the Authorization header. Keys in the URL are not accepted."
            )


def require_scope(principal: Principal, scope: Scope) -> None:
    if scope not in principal.scopes:
        raise ApiError(
            Code.INSUFFICIENT_SCOPE, f"This needs a key with the scope {scope}.", members={"requiredScope": str(scope)}
        )


def require_origin(principal: Principal, request: web.Request) -> None:
    """A publishable key stands in a page's source. Its origins keep other sites' pages from using it, and nobody else:
    only browsers tell the truth about their `Origin`.
    """
    if principal.agent_id is None:
        return
    given = request.headers.getall("Origin", [])
    if len(given) != 1 or not is_allowed(given[0], principal.allowed_origins):
        raise ApiError(Code.ORIGIN_NOT_ALLOWED)


def require_own_session(visitor: Visitor, request: web.Request, scope: Scope | None) -> None:
    """`scope`: what a key would need here; None: a visitor may come. Another session looks like an absent one."""
    if scope is not None:
        raise ApiError(
            Code.INSUFFICIENT_SCOPE,
            f"A visitor token opens its own session only. This needs a key with the scope {scope}.",
            members={"requiredScope": str(scope)},
        )
    if request.match_info.get("sessionId", visitor.session_id) != visitor.session_id:
        raise ApiError(Code.SESSION_NOT_FOUND)
    if cors.origin_of(request) == visitor.origin:
        cors.allow_origin(request)


class Authenticator:
    """Finds a request's principal. An address with too many failures may only use keys that were good before.

    Such keys are never blocked: without `trusted_proxies`, all clients behind a proxy share its address.
    """

    def __init__(
        self,
        keys: KeyCache,
        rates: RequestRates,
        visitors: VisitorTokens,
        *,
        failures_per_minute: int,
        trusted_proxies: Sequence[Network] = (),
    ) -> None:
        """`failures_per_minute` 0: no limit."""
        self._keys = keys
        self._rates = rates
        self._failures_per_minute = failures_per_minute
        self._visitors = visitors
        self._trusted = tuple(trusted_proxies)

    async def principal(self, request: web.Request) -> Principal:
        """Raises `missing_api_key`, `invalid_api_key`, `expired_api_key`, `rate_limited`, `dependency_unavailable`.

        For a visitor token also `invalid_visitor_token`, `expired_visitor_token` and `origin_not_allowed`.
        """
        try:
            secret = bearer_secret(request)
            if secret.startswith(PREFIX):
                return await self.visitor(request, secret)
            digest = digest_of(secret)
        except ApiError as error:
            if error.code in (Code.INVALID_API_KEY, Code.INVALID_VISITOR_TOKEN):
                await self._count_failure(address_of(request, self._trusted))
            raise
        if self._keys.was_good(digest):
            return await self._keys.principal(digest)
        return await self._strangers_principal(digest, address_of(request, self._trusted))

    async def visitor(self, request: web.Request, token: str) -> Principal:
        """The publishable key that made the token, with the token's visitor."""
        grant = self._visitors.read(token)
        key = await self.named_key(grant.key_id)
        if (key.workspace, key.agent_id) != (grant.workspace, grant.agent_id):
            raise ApiError(Code.INVALID_VISITOR_TOKEN)
        given = request.headers.getall("Origin", [])
        is_known = all(each == grant.visitor.origin or cors.is_own(request, each) for each in given)
        if not is_known or not is_allowed(grant.visitor.origin, key.allowed_origins):
            raise ApiError(Code.ORIGIN_NOT_ALLOWED)
        return key.model_copy(update={"visitor": grant.visitor})

    async def named_key(self, key_id: str) -> Principal:
        """A publishable key by its id, which is no secret. Raises `invalid_api_key`, `expired_api_key`."""
        return await self._keys.principal(key_id)

    async def _strangers_principal(self, digest: str, address: str) -> Principal:
        """Counts a failure before the lookup, so that concurrent guesses count too, and uncounts it for a good key."""
        await self._count_failure(address)
        try:
            principal = await self._keys.principal(digest)
        except ApiError as error:
            if error.code is not Code.INVALID_API_KEY:
                await self._uncount_failure(address)
            raise
        await self._uncount_failure(address)
        return principal

    async def _count_failure(self, address: str) -> None:
        if not self._failures_per_minute:
            return
        allowance = await self._rates.take(f"failures:{address}", self._failures_per_minute)
        if allowance.retry_s > 0:
            LIMITS_HIT.labels("invalid_keys").inc()
            raise ApiError(
                Code.RATE_LIMITED,
                "Too many requests with invalid API keys came from this address.",
                headers=allowance.retry_after(),
            )

    async def _uncount_failure(self, address: str) -> None:
        if self._failures_per_minute:
            await self._rates.give_back(f"failures:{address}", self._failures_per_minute)
