"""The HTTP tool: one request to a fixed URL, of which the model fills parameters and never the host."""

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import orjson
from aiohttp.typedefs import LooseHeaders
from yarl import URL

from services.agent_worker.tools.guard import AddressRefused, UrlRefused, checked_url, guarded_sockets
from shared.contracts.agents import HttpTool

CONNECT_TIMEOUT_S: Final = 5.0
_TEXT_TYPES: Final = (
    "application/json",
    "application/xml",
    "application/problem+json",
    "application/x-www-form-urlencoded",
    "application/javascript",
)
# aiohttp sets these from the URL and the body.
_OWN_HEADERS: Final = frozenset({"host", "content-length", "transfer-encoding", "connection", "idempotency-key"})


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolPolicy:
    """What the operator lets tools do: `allowed_hosts` are `host:port` that need not be public; `ports` those of all others."""

    allowed_hosts: frozenset[str] = frozenset()
    ports: frozenset[int] = frozenset({80, 443})
    result_bytes: int = 65_536


class ToolFailure(Exception):
    """The call has no good result; the text is for the model."""


class HttpTools:
    """Makes the requests of all agents' tools. No cookies, no redirects, no proxies from the environment, no shared connections."""

    def __init__(self, policy: ToolPolicy, *, guard: Any = None) -> None:
        self._policy = policy
        self._guard = guard or guarded_sockets()
        self._public: aiohttp.ClientSession | None = None
        self._allowed: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        guarded = aiohttp.TCPConnector(socket_factory=self._guard, force_close=True, use_dns_cache=False, limit=200)
        self._public = _session(guarded)
        self._allowed = _session(aiohttp.TCPConnector(limit=200, keepalive_timeout=15.0))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for session in (self._public, self._allowed):
            if session is not None:
                await session.close()

    async def call(self, tool: HttpTool, arguments: dict[str, Any], key: str) -> str:
        """The answer's text. Raises ToolFailure. Never repeated here: a model that is told of a failure decides."""
        try:
            async with asyncio.timeout(tool.timeout_s):
                return await self._exchange(tool, arguments, key)
        except TimeoutError:
            raise ToolFailure(f"The tool did not answer within {tool.timeout_s:g} s.") from None
        except UrlRefused as error:
            raise ToolFailure(f"The tool cannot be called: {error}.") from None
        except aiohttp.ClientConnectorError as error:
            refused = isinstance(error.os_error, AddressRefused) or isinstance(error.__cause__, AddressRefused)
            raise ToolFailure(
                "The tool's address is not allowed." if refused else "The tool cannot be reached."
            ) from None
        except (aiohttp.ClientError, OSError, ValueError):
            raise ToolFailure("The tool cannot be reached, or does not speak HTTP.") from None

    async def _exchange(self, tool: HttpTool, arguments: dict[str, Any], key: str) -> str:
        url, is_allowed = checked_url(tool.url, self._policy.ports, self._policy.allowed_hosts)
        session = self._allowed if is_allowed else self._public
        assert session is not None, "use the tools inside `async with`"
        headers = {name: value for name, value in tool.headers.items() if name.lower() not in _OWN_HEADERS} | {
            "Idempotency-Key": key
        }
        body: bytes | None = None
        if tool.method == "GET":
            url = with_arguments(url, arguments)
        else:
            body = orjson.dumps(arguments)
            headers["Content-Type"] = "application/json"
        async with session.request(tool.method, url, data=body, headers=headers, allow_redirects=False) as response:
            if 300 <= response.status < 400:
                raise ToolFailure(f"The tool answered with a redirect (HTTP {response.status}), which is not followed.")
            text = await self._read(response)
        if response.status >= 400:
            raise ToolFailure(f"HTTP {response.status}\n{text}".strip())
        return text

    async def _read(self, response: aiohttp.ClientResponse) -> str:
        """The body as text. The limit counts what is left after decompression, while it comes in."""
        if not _is_text(response):
            raise ToolFailure(f"The tool answered with {response.content_type[:100]}, which is not text.")
        limit, size, pieces = self._policy.result_bytes, 0, list[bytes]()
        async for piece in response.content.iter_any():
            size += len(piece)
            if size > limit:
                response.close()
                raise ToolFailure(f"The tool's answer is longer than {limit} bytes.")
            pieces.append(piece)
        return decoded(b"".join(pieces), response.charset or "utf-8")


def decoded(body: bytes, charset: str) -> str:
    """Text that every store can hold: some charsets decode to halves of surrogate pairs."""
    try:
        text = body.decode(charset, "replace")
    except (LookupError, ValueError):
        text = body.decode("utf-8", "replace")
    return text.encode("utf-8", "replace").decode()


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
    headers: LooseHeaders = {"User-Agent": "Parley", "Accept": "application/json, text/*;q=0.9"}
    return aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout, headers=headers, trust_env=False
    )


def with_arguments(url: URL, arguments: dict[str, Any]) -> URL:
    """Arguments as a query, beside what the URL has: text as it is, lists repeated, everything else as JSON."""
    items = [
        (name, item) for name, value in arguments.items() for item in (value if isinstance(value, list) else [value])
    ]
    return url.extend_query(
        [
            (name, item if isinstance(item, str) else orjson.dumps(item).decode())
            for name, item in items
            if item is not None
        ]
    )


def _is_text(response: aiohttp.ClientResponse) -> bool:
    kind = response.content_type
    return kind.startswith("text/") or kind in _TEXT_TYPES or kind.endswith(("+json", "+xml"))
