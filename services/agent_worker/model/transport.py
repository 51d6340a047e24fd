"""aiohttp beneath the openai client.

The client's own aiohttp transport passes a stream through six nested generators, at 10 µs a read. With this one
`call.py` reads from aiohttp itself.
"""

from collections.abc import AsyncIterator
from typing import Final
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2
from yarl import URL

from shared.web.origin import origin_headers

_BODY: Final = "parley_body"
KEEPALIVE_S: Final = 15.0
# aiohttp sets these itself: the body's length, the encodings that it can decompress, and whether the connection is
# kept.
_OF_THE_CONNECTION: Final = ("content-length", "accept-encoding", "connection")


def body_of(response: httpx2.Response) -> aiohttp.StreamReader:
    """The body of a response that came by an `AiohttpTransport`, decompressed.

    It raises aiohttp's errors, and b"" is its end.
    """
    body: aiohttp.StreamReader = response.extensions[_BODY]
    return body


class _Body(httpx2.AsyncByteStream):
    """The body for readers of httpx2's own interface: the client reads errors through it."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._response.content.iter_any():
            yield piece

    async def aclose(self) -> None:
        # aiohttp closes a connection with an unread rest, which stops the model, and keeps one that was read to its
        # end.
        self._response.release()


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """Raises aiohttp's ClientError, OSError and TimeoutError unchanged. Uses the proxy that the environment names."""

    def __init__(self, base_url: str, *, connect_s: float, connections: int) -> None:
        self._proxy = _proxy_of(URL(base_url))
        self._proxy_auth = None if self._proxy is None else aiohttp.BasicAuth.from_url(self._proxy)
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_s)
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        # After a 307 or 308 httpx2 makes a request whose body has not been read yet.
        content = await request.aread()
        response = await self._open().request(
            request.method,
            URL(str(request.url), encoded=True),
            headers=_headers_of(request),
            data=content or None,
            allow_redirects=False,
            proxy=None if self._proxy is None else self._proxy.with_user(None),
            proxy_auth=self._proxy_auth,
        )
        # aiohttp has decompressed the body already.
        headers = [(name, value) for name, value in response.raw_headers if name.lower() != b"content-encoding"]
        return httpx2.Response(
            response.status,
            headers=headers,
            stream=_Body(response),
            request=request,
            extensions={_BODY: response.content},
        )

    def _open(self) -> aiohttp.ClientSession:
        """The first call makes the session, which belongs to the running loop."""
        if self._session is None:
            # The certificates that the client trusts by default.
            connector = aiohttp.TCPConnector(
                limit=self._connections, keepalive_timeout=KEEPALIVE_S, ssl=httpx2.create_ssl_context()
            )
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()


def _headers_of(request: httpx2.Request) -> list[tuple[str, str]]:
    """With those that name the turn's request, unless the upstream's settings have them."""
    own = [(name, value) for name, value in request.headers.multi_items() if name not in _OF_THE_CONNECTION]
    return own + [(name, value) for name, value in origin_headers().items() if name not in request.headers]


def _proxy_of(url: URL) -> URL | None:
    """The environment's proxy, read once: aiohttp would read it for each call, in a thread."""
    proxies = getproxies()
    address = proxies.get(url.scheme) or proxies.get("all")
    if not address or not url.host or proxy_bypass(f"{url.host}:{url.port}"):
        return None
    return URL(address if "://" in address else f"http://{address}")
