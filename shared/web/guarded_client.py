"""The HTTP client for every address that an agent's author can choose: guarded, bounded, stateless.

No cookies, no proxies from the environment, no pooled connections to public hosts, no credentials across origins.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.typedefs import LooseHeaders
from yarl import URL

from shared.web.guard import AddressRefused, guarded_sockets, is_public, may_reach
from shared.web.guard_rules import OutgoingPolicy, UrlRefused, checked_url, is_same_origin
from shared.web.origin import origin_headers

CONNECT_TIMEOUT_S: Final = 5.0
MAX_REDIRECTS: Final = 3
MAX_CONNECTIONS: Final = 200
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
# What may accompany a request that is redirected to another origin. All other headers may hold credentials.
_HARMLESS: Final = frozenset({"accept", "content-type", "user-agent", "idempotency-key"})
# aiohttp sets these from the URL and the body.
_OF_THE_CONNECTION: Final = frozenset({"host", "content-length", "transfer-encoding", "connection"})
_TEXT_TYPES: Final = frozenset(
    {
        "application/json",
        "application/xml",
        "application/problem+json",
        "application/x-www-form-urlencoded",
        "application/javascript",
    }
)


class OutgoingFailure(Exception):
    """The call has no good answer. The text is a sentence for the agent's author and for the model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outgoing:
    """A request. `headers` are not shown in logs or tracebacks: they hold credentials."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    status: int
    text: str


class GuardedClient:
    """Raises OutgoingFailure. A caller sets the total time with `asyncio.timeout`: cancelling closes the connection."""

    def __init__(
        self,
        policy: OutgoingPolicy,
        *,
        is_allowed: Callable[[str], bool] = is_public,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._policy = policy
        self._guard = guarded_sockets(may_reach(policy, is_allowed))
        self._resolver = resolver
        self._public: aiohttp.ClientSession | None = None
        self._allowed: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # A kept connection or a cached name would bypass the guard.
        guarded = aiohttp.TCPConnector(
            socket_factory=self._guard,
            force_close=True,
            use_dns_cache=False,
            limit=MAX_CONNECTIONS,
            resolver=self._resolver,
        )
        self._public = _session(guarded)
        self._allowed = _session(aiohttp.TCPConnector(limit=MAX_CONNECTIONS, keepalive_timeout=15.0))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for session in (self._public, self._allowed):
            if session is not None:
                await session.close()

    async def fetch(self, request: Outgoing, *, limit: int, redirects: int = MAX_REDIRECTS) -> Answer:
        """The whole answer, which must be text of at most `limit` bytes after decompression."""
        async with self.open(request, redirects=redirects) as response:
            if not _is_text(response):
                raise OutgoingFailure(f"It answered with {response.content_type[:100]}, which is not text.")
            return Answer(status=response.status, text=await _read(response, limit))

    @asynccontextmanager
    async def open(self, request: Outgoing, *, redirects: int = MAX_REDIRECTS) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response with its body unread. With `redirects=0` a redirect is a response like any other.

        Errors while the caller reads the body are translated too.
        """
        try:
            response = await self._follow(request, redirects)
            try:
                yield response
            finally:
                # If the body was not read to its end, this closes the connection, which stops the sender.
                response.release()
        except UrlRefused as error:
            raise OutgoingFailure(f"The address is not allowed: {error}.") from None
        except aiohttp.ClientConnectorError as error:
            refused = isinstance(error.os_error, AddressRefused) or isinstance(error.__cause__, AddressRefused)
            raise OutgoingFailure(
                "The address is not allowed: it is not public." if refused else "It cannot be reached."
            ) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ServerTimeoutError):
                raise  # The caller's own deadline.
            raise OutgoingFailure("It cannot be reached, or does not speak HTTP.") from None

    async def _follow(self, request: Outgoing, redirects: int) -> aiohttp.ClientResponse:
        method, body, headers = request.method, request.body, _sendable(request.headers)
        target = request.url
        for hop in range(redirects + 1):
            url, is_listed = checked_url(target, self._policy)
            session = self._allowed if is_listed else self._public
            assert session is not None, "use the client inside `async with`"
            response = await session.request(method, url, data=body, headers=headers, allow_redirects=False)
            location = response.headers.get("Location")
            if not redirects or response.status not in _REDIRECTS or location is None:
                return response
            response.release()
            following = _next_url(url, location)
            if hop == redirects:
                break
            if not is_same_origin(url, following):
                headers = {name: value for name, value in headers.items() if name.lower() in _HARMLESS}
            if response.status == 303 or (response.status in (301, 302) and method == "POST"):
                method, body = "GET", None
                headers = {name: value for name, value in headers.items() if name.lower() != "content-type"}
            target = str(following)
        raise OutgoingFailure(f"It redirects more than {redirects} times.")


def _next_url(url: URL, location: str) -> URL:
    try:
        following = url.join(URL(location))
    except ValueError:
        raise OutgoingFailure("It redirects to a malformed address.") from None
    if url.scheme == "https" and following.scheme != "https":
        raise OutgoingFailure("It redirects from https to an unprotected address.")
    return following


def _sendable(headers: Mapping[str, str]) -> dict[str, str]:
    """The agent's own headers come before those that name the request."""
    own = {name.lower() for name in headers}
    origin = {name: value for name, value in origin_headers().items() if name not in own}
    return origin | {name: value for name, value in headers.items() if name.lower() not in _OF_THE_CONNECTION}


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
    headers: LooseHeaders = {"User-Agent": "Parley", "Accept": "application/json, text/*;q=0.9"}
    return aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout, headers=headers, trust_env=False
    )


async def _read(response: aiohttp.ClientResponse, limit: int) -> str:
    """The limit counts what is left after decompression, while it comes in."""
    size, pieces = 0, list[bytes]()
    async for piece in response.content.iter_any():
        size += len(piece)
        if size > limit:
            response.close()
            raise OutgoingFailure(f"Its answer is longer than {limit} bytes.")
        pieces.append(piece)
    return decoded(b"".join(pieces), response.charset or "utf-8")


def decoded(body: bytes, charset: str) -> str:
    """Text that every store can hold: some charsets decode to halves of surrogate pairs."""
    try:
        text = body.decode(charset, "replace")
    except (LookupError, ValueError):
        text = body.decode("utf-8", "replace")
    return text.encode("utf-8", "replace").decode()


def _is_text(response: aiohttp.ClientResponse) -> bool:
    kind = response.content_type
    return kind.startswith("text/") or kind in _TEXT_TYPES or kind.endswith(("+json", "+xml"))
