"""One public route as a value, and what is checked before its handler: shutdown, key, scope, rate limit."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

from aiohttp import web
from pydantic import BaseModel

from services.gateway.edge import cors
from services.gateway.edge.auth import (
    Authenticator,
    refuse_key_in_url,
    require_origin,
    require_own_session,
    require_scope,
)
from services.gateway.edge.limits import GatewayLimits
from services.gateway.edge.stream_places import Place
from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import Principal, Scope
from shared.ids import is_id
from shared.web.middleware import Handler

HELD: Final = frozenset({"text/event-stream", "application/x-ndjson"})
LIMIT_HEADERS: Final = web.RequestKey("limit_headers", dict[str, str])


class Guards(Protocol):
    """What every route needs of the dependencies. The edge knows nothing else of them."""

    @property
    def authenticator(self) -> Authenticator: ...

    @property
    def limits(self) -> GatewayLimits: ...

    @property
    def draining(self) -> asyncio.Event: ...


D = TypeVar("D", bound=Guards)


class Call(NamedTuple, Generic[D]):
    """An authenticated request on its way to its handler. `place`: see `Route.may_be_held`."""

    request: web.Request
    dependencies: D
    principal: Principal
    place: Place | None = None

    @property
    def workspace(self) -> str:
        return self.principal.workspace

    def hold(self) -> AbstractContextManager[None]:
        """Counts an open stream or a waiting request for as long as the block runs.

        Raises `rate_limited` when the key has too many, `overloaded` when the gateway has.
        """
        return self.dependencies.limits.hold(self.principal.key_id, self.place)

    def path_id(self, name: str, prefix: str, code: Code) -> str:
        """An id in the path. A malformed one gets the same answer as one that does not exist."""
        text = self.request.match_info[name]
        if not is_id(prefix, text):
            raise ApiError(code)
        return text


class Param(NamedTuple):
    """A query parameter or a header. `location` and `style` are OpenAPI's `in` and `style`."""

    name: str
    schema: dict[str, Any]
    description: str
    location: str = "query"
    style: str | None = None


class Reply(NamedTuple):
    """A successful response. `schema` None: an empty body. `envelope`: the body is `{success, data}`.

    `beside`: further members of the envelope, with their schemas. `gives`: paths whose last parameter is a member of
    the data, with the member's name. The document links the reply to the routes there.
    """

    description: str
    schema: type[BaseModel] | dict[str, Any] | None = None
    envelope: bool = True
    media_type: str = "application/json"
    paged: bool = False
    beside: Mapping[str, Any] = MappingProxyType({})
    gives: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True, eq=False)
class Route(Generic[D]):
    """One public route. `scope` None: open to everyone. `errors`: codes beyond those that every route may answer.

    `visitor`: a visitor token opens it too, for its own session. `operation`: its name in the OpenAPI document, where
    its path makes no good one.
    """

    method: str
    path: str
    serve: Callable[[Call[D]], Awaitable[web.StreamResponse]]
    scope: Scope | None
    summary: str
    replies: dict[int, tuple[Reply, ...]]
    request: type[BaseModel] | None = None
    body_optional: bool = False
    params: tuple[Param, ...] = ()
    errors: tuple[Code, ...] = ()
    openai: bool = False
    visitor: bool = False
    operation: str | None = None

    @property
    def is_for_pages(self) -> bool:
        """Whether pages of other origins may call it."""
        return self.visitor or self.scope is Scope.CHAT_PUBLIC

    @property
    def may_be_held(self) -> bool:
        """Whether its answer may be a stream. Then the request has a place from the check of its rate on."""
        return any(reply.media_type in HELD for replies in self.replies.values() for reply in replies)


def guarded(route: Route[D], dependencies: D) -> Handler:
    """The aiohttp handler of a route."""
    may_be_held = route.may_be_held

    async def handle(request: web.Request) -> web.StreamResponse:
        if dependencies.draining.is_set():
            raise ApiError(Code.DRAINING, headers={"Connection": "close"})
        refuse_key_in_url(request.query)
        if route.scope is Scope.CHAT_PUBLIC:
            cors.allow_origin(request)
        if route.scope is None:
            return await route.serve(Call(request, dependencies, ANYONE))
        principal = await _authorised(request, dependencies, route)
        if not may_be_held:
            await _count(request, dependencies, route, principal, None)
            return await route.serve(Call(request, dependencies, principal))
        place = dependencies.limits.place(principal)
        try:
            await _count(request, dependencies, route, principal, place)
            return await route.serve(Call(request, dependencies, principal, place))
        finally:
            dependencies.limits.leave(place)

    return handle


ANYONE: Final = Principal(key_id="", workspace="", scopes=frozenset())


async def _authorised(request: web.Request, guards: Guards, route: Route[Any]) -> Principal:
    principal = await guards.authenticator.principal(request)
    assert route.scope is not None
    if principal.visitor is None:
        require_scope(principal, route.scope)
        require_origin(principal, request)
    else:
        require_own_session(principal.visitor, request, route.scope if not route.visitor else None)
    return principal


async def _count(
    request: web.Request, guards: Guards, route: Route[Any], principal: Principal, place: Place | None
) -> None:
    """Raises `rate_limited`."""
    allowance = await guards.limits.request(principal, place)
    if allowance is None:
        return
    # Added to every response to this request, streams and errors included.
    request[LIMIT_HEADERS] = allowance.headers(openai=route.openai)
    if allowance.retry_s > 0:
        raise ApiError(Code.RATE_LIMITED, _used_up(principal), headers=allowance.retry_after())


def _used_up(principal: Principal) -> str:
    who = "This key" if principal.visitor is None else "This visitor, or the key of this page,"
    return f"{who} has used up its requests for this minute."
