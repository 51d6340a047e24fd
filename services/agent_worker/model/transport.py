"""The way of a model call's bytes: aiohttp beneath the openai client.

The client's own aiohttp transport hands a stream on through six generators, one inside the other, at 10 µs a read; this one lets
`model.py` read from aiohttp itself.
"""

from collections.abc import AsyncIterator
from typing import Final
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2
from yarl import URL

_BODY: Final = "parley_body"
KEEPALIVE_S: Final = 15.0
# What aiohttp knows better: how long the body is, what it can decompress, and whether it keeps the connection.
_OF_THE_CONNECTION: Final = ("content-length", "accept-encoding", "connection")


def body_of(response: httpx2.Response) -> aiohttp.StreamReader:
    """The body of a response that came by an `AiohttpTransport`, decompressed. It raises aiohttp's errors, and b"" is its end."""
    body: aiohttp.StreamReader = response.extensions[_BODY]
    return body


class _Body(httpx2.AsyncByteStream):
    """For whoever reads a response the usual way: the client does so with errors."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._response.content.iter_any():
            yield piece

    async def aclose(self) -> None:
        # A connection with an unread rest is closed, which stops the model; one that was read to its end is kept.
        self._response.release()


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """Raises aiohttp's ClientError, OSError and TimeoutError as they are. Goes through the proxy that the environment names."""

    def __init__(self, base_url: str, *, connect_s: float, connections: int) -> None:
        self._proxy = _proxy_of(URL(base_url))
        self._proxy_auth = None if self._proxy is None else aiohttp.BasicAuth.from_url(self._proxy)
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_s)
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._open().request(
            request.method,
            URL(str(request.url), encoded=True),
            headers=[(name, value) for name, value in request.headers.multi_items() if name not in _OF_THE_CONNECTION],
            data=request.content or None,
            allow_redirects=False,
            proxy=None if self._proxy is None else self._proxy.with_user(None),
            proxy_auth=self._proxy_auth,
        )
        # aiohttp has decompressed the body: nobody shall do it again.
        headers = [(name, value) for name, value in response.raw_headers if name.lower() != b"content-encoding"]
        return httpx2.Response(
            response.status,
            headers=headers,
            stream=_Body(response),
            request=request,
            extensions={_BODY: response.content},
        )

    def _open(self) -> aiohttp.ClientSession:
        """Made by the first call: a session belongs to the running loop."""
        if self._session is None:
            # The certificates that the client trusts by itself.
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


def _proxy_of(url: URL) -> URL | None:
    """As the environment says, asked once: aiohttp would ask it for each call, in a thread."""
    proxies = getproxies()
    address = proxies.get(url.scheme) or proxies.get("all")
    if not address or not url.host or proxy_bypass(f"{url.host}:{url.port}"):
        return None
    return URL(address if "://" in address else f"http://{address}")
