"""One public route as a value, and what stands before its handler: shutdown, key, scope, rate limit."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from aiohttp import web
from pydantic import BaseModel

from services.gateway.dependencies import PARTS, Dependencies
from services.gateway.edge.auth import refuse_key_in_url, require_scope
from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import Principal, Scope
from shared.ids import is_id
from shared.web.middleware import Handler

LIMIT_HEADERS: Final = web.RequestKey("limit_headers", dict[str, str])


class Call(NamedTuple):
    """An authenticated request, on its way to its handler."""

    request: web.Request
    dependencies: Dependencies
    principal: Principal

    @property
    def workspace(self) -> str:
        return self.principal.workspace

    def path_id(self, name: str, prefix: str, code: Code) -> str:
        """An id of the path. A malformed one is answered like one that does not exist."""
        text = self.request.match_info[name]
        if not is_id(prefix, text):
            raise ApiError(code)
        return text


Serve = Callable[[Call], Awaitable[web.StreamResponse]]


class Param(NamedTuple):
    """A query parameter or a header. `schema` is its JSON schema, `style` how OpenAPI spells it when it has several values."""

    name: str
    schema: dict[str, Any]
    description: str
    place: str = "query"
    style: str | None = None


class Answer(NamedTuple):
    """A success. `schema`: a contract, a JSON schema, or None for an empty body. `envelope`: wrapped in `{success, data}`."""

    description: str
    schema: type[BaseModel] | dict[str, Any] | None = None
    envelope: bool = True
    media_type: str = "application/json"
    paged: bool = False


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Route:
    """`scope` None: open to everyone. `errors`: the codes beside those that every route may answer."""

    method: str
    path: str
    serve: Serve
    scope: Scope | None
    summary: str
    answers: dict[int, tuple[Answer, ...]]
    request: type[BaseModel] | None = None
    body_optional: bool = False
    params: tuple[Param, ...] = ()
    errors: tuple[Code, ...] = ()
    openai: bool = False


def guarded(route: Route) -> Handler:
    """The aiohttp handler of a route."""

    async def handle(request: web.Request) -> web.StreamResponse:
        dependencies = request.app[PARTS]
        if dependencies.draining.is_set():
            raise ApiError(Code.DRAINING, headers={"Connection": "close"})
        refuse_key_in_url(request.query)
        return await route.serve(Call(request, dependencies, await _principal(request, dependencies, route)))

    return handle


ANYONE: Final = Principal(key_id="", workspace="", scopes=frozenset())


async def _principal(request: web.Request, dependencies: Dependencies, route: Route) -> Principal:
    if route.scope is None:
        return ANYONE
    principal = await dependencies.authenticator.principal(request)
    require_scope(principal, route.scope)
    allowance = dependencies.limits.request(principal.key_id)
    # Put on whatever answers this request, a stream and an error included.
    request[LIMIT_HEADERS] = allowance.headers(openai=route.openai)
    if allowance.retry_s > 0:
        raise ApiError(
            Code.RATE_LIMITED,
            "This key has used up its requests for this minute.",
            headers=allowance.retry_after(),
        )
    return principal
