"""The bytes of one event stream: headers, guarded writes, pings, and how the stream is ended or aborted."""

import asyncio
import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from aiohttp import HttpVersion11, web
from aiohttp.helpers import must_be_empty_body

from services.gateway.streaming.renderer import PING
from shared.web.middleware import REQUEST_ID

WRITE_TIMEOUT_S: Final = 15.0
FLUSH_S: Final = 5.0
SEND_BUFFER: Final = 64 << 10
# A client that does not read can make this process hold this much and one slice more, beside the kernel's buffer.
WRITE_BUFFER: Final = 8 << 10
SLICE: Final = 4 << 10

HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}


def stream_headers() -> web.StreamResponse:
    """The answer to HEAD on a route that streams: the headers of the stream and no body."""
    return web.StreamResponse(headers=HEADERS)


class EventStream:
    """A started event stream. A client that does not read is disconnected after `WRITE_TIMEOUT_S`.

    `send` and `ping` raise ConnectionError when the client is gone, TimeoutError when it does not read.

    Nothing is written when the response may have no body (HEAD, 204, 304), after its end, or once the connection serves
    another request: behind a proxy with pooled connections such bytes would reach another client.
    """

    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        self.response = response
        self._request = request
        self._protocol = request.protocol
        self._is_sending = False
        self._has_pinged = False
        self._is_open = not must_be_empty_body(request.method, response.status)

    @classmethod
    async def start(cls, request: web.Request, headers: Mapping[str, str] | None = None) -> "EventStream":
        response = web.StreamResponse(headers={**HEADERS, "x-request-id": request[REQUEST_ID], **(headers or {})})
        if request.version >= HttpVersion11:
            response.enable_chunked_encoding()
        transport = request.transport
        if transport is not None:
            transport.set_write_buffer_limits(high=WRITE_BUFFER)
            connection = transport.get_extra_info("socket")
            if connection is not None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        await response.prepare(request)
        response.headers.clear()  # They have been sent, and would hold a kilobyte for as long as the stream lasts.
        return cls(request, response)

    def _owns_connection(self) -> bool:
        """aiohttp has no public name for the request that a connection serves; a test holds this contract."""
        return self._is_open and self._protocol._current_request is self._request

    def _transport(self) -> asyncio.Transport | None:
        """The connection, while this response may write to it. None once the client is gone."""
        transport = self._protocol.transport if self._owns_connection() else None
        return None if transport is None or transport.is_closing() else transport

    def send_now(self, data: bytes) -> bool:
        """Writes what can be written without waiting. False, and nothing written: use `send`.

        This bypasses aiohttp's writer, whose five calls would cost more than everything else that a token costs here.
        The headers have been sent, since a `StreamResponse` sends them in `prepare`.
        """
        transport = self._transport()
        if transport is None or len(data) + transport.get_write_buffer_size() >= WRITE_BUFFER:
            return False
        transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self.response.chunked else data)
        return True

    async def send(self, data: bytes) -> None:
        transport = self._transport()
        if transport is None:
            raise ConnectionResetError("the client is gone")
        if len(data) + transport.get_write_buffer_size() < WRITE_BUFFER:
            await self.response.write(data)
            return
        self._is_sending = True
        # Only a write that may have to wait pays for a timer.
        for start in range(0, len(data), SLICE):
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await self._request.writer.drain()
                await self.response.write(data[start : start + SLICE])
        self._is_sending = False

    async def send_all(self, parts: Iterable[bytes]) -> None:
        """Sends many small parts in as few writes as there are slices."""
        waiting: list[bytes] = []
        size = 0
        for part in parts:
            waiting.append(part)
            size += len(part)
            if size >= SLICE:
                await self.send(b"".join(waiting))
                waiting, size = [], 0
        if waiting:
            await self.send(b"".join(waiting))

    def ping_now(self, data: bytes = PING) -> None:
        """A sign of life from outside the stream's own task, which may wait for a store that does not answer.

        Nothing is written into the middle of a frame, or where the client does not read.
        """
        self._has_pinged = not self._is_sending and self.send_now(data)

    async def ping(self, data: bytes = PING) -> None:
        """A sign of life, unless `ping_now` has just sent one. Raises as `send` does in both cases."""
        if not self._has_pinged:
            await self.send(data)
        elif self._transport() is None:
            raise ConnectionResetError("the client is gone")
        self._has_pinged = False

    async def end(self, data: bytes = b"") -> None:
        """A clean end after the last data. Small data and the end are one write."""
        if len(data) > SLICE:
            await self.send(data)
            data = b""
        if self._transport() is None:
            raise ConnectionResetError("the client is gone")
        self._is_sending = True
        async with asyncio.timeout(WRITE_TIMEOUT_S):
            await self.response.write_eof(data)
        self._is_open = False

    async def end_all(self, parts: Sequence[bytes]) -> None:
        """A clean end after many parts. Few small parts and the end are one write."""
        if sum(len(part) for part in parts) <= SLICE:
            await self.end(b"".join(parts))
        else:
            await self.send_all(parts[:-1])
            await self.end(parts[-1])

    def break_off(self) -> None:
        """Closes the connection after what was written, without the end of the transfer coding.

        So no client takes what it has for a whole answer.
        """
        transport = self._protocol.transport if self._owns_connection() else None
        self._is_open = False
        if transport is not None:
            transport.close()
            # A client that does not read does not keep the connection either.
            asyncio.get_running_loop().call_later(FLUSH_S, transport.abort)

    def abort(self) -> None:
        """Breaks the connection at once, so that no client takes what it has for a whole answer."""
        transport = self._protocol.transport if self._owns_connection() else None
        self._is_open = False
        if transport is not None:
            transport.abort()
