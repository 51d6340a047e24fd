"""The HTTP transport of MCP clients: the package's HTTP layer over GuardedClient.

The package's own transport would bypass the guard.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Final

import aiohttp
import httpx2

from shared.web.guarded_client import GuardedClient, Outgoing, OutgoingFailure

# What one session may receive in total. JSON can need six bytes for one byte of text.
MAX_BYTES: Final = 4 << 20
GOODBYE_TIMEOUT_S: Final = 2.0
# aiohttp sets these itself.
_OF_THE_CONNECTION: Final = frozenset({"accept-encoding", "content-length", "connection", "host"})


class GuardedTransport(httpx2.AsyncBaseTransport):
    """For one session with one server. Raises OutgoingFailure."""

    def __init__(self, client: GuardedClient) -> None:
        self._client = client
        self._room = MAX_BYTES

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET" and "last-event-id" not in request.headers:
            # The stream for messages that the server sends unasked. Parley uses none of them.
            return httpx2.Response(405, request=request)
        if request.method != "DELETE":
            return await self._exchange(request)
        # The end of the session. A slow server must not delay the caller.
        try:
            async with asyncio.timeout(GOODBYE_TIMEOUT_S):
                return await self._exchange(request)
        except TimeoutError:
            return httpx2.Response(405, request=request)

    async def _exchange(self, request: httpx2.Request) -> httpx2.Response:
        headers = {name: value for name, value in request.headers.items() if name not in _OF_THE_CONNECTION}
        body = await request.aread()
        outgoing = Outgoing(method=request.method, url=str(request.url), headers=headers, body=body or None)
        async with AsyncExitStack() as stack:
            response = await stack.enter_async_context(self._client.open(outgoing, redirects=0))
            stream = _Body(response, stack.pop_all(), self)
        # aiohttp has already decompressed the body.
        kept = [(name, value) for name, value in response.raw_headers if name.lower() != b"content-encoding"]
        return httpx2.Response(response.status, headers=kept, stream=stream, request=request)

    def count(self, size: int) -> None:
        """Raises OutgoingFailure."""
        self._room -= size
        if self._room < 0:
            raise OutgoingFailure(f"It sent more than {MAX_BYTES} bytes.")


class _Body(httpx2.AsyncByteStream):
    def __init__(self, response: aiohttp.ClientResponse, stack: AsyncExitStack, transport: GuardedTransport) -> None:
        self._response = response
        self._stack = stack
        self._transport = transport

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._response.content.iter_any():
                self._transport.count(len(piece))
                yield piece
        except aiohttp.ClientError as error:
            raise httpx2.ReadError("the connection broke") from error

    async def aclose(self) -> None:
        """Closes the connection if the body was not read to its end. Since 2026-07-28 this cancels the call."""
        await self._stack.aclose()
