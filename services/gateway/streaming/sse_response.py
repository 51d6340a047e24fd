"""An event stream's bytes on their way to one client: headers, guarded writes, pings, and how a stream is broken off."""

import asyncio
import socket
from collections.abc import Iterable, Mapping
from typing import Final

from aiohttp import HttpVersion11, web

from shared.web.server import REQUEST_ID

PING: Final = b": ping\n\n"
WRITE_TIMEOUT_S: Final = 15.0
SEND_BUFFER: Final = 64 << 10
# With one slice more this is what a client that does not read can make this process hold, beside the frames on their way to it.
WRITE_BUFFER: Final = 8 << 10
SLICE: Final = 4 << 10

HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}


class EventStream:
    """A started event stream. A client that does not read is cut off after `WRITE_TIMEOUT_S`, with little buffered for it.

    `send` and `ping` raise ConnectionError when the client is gone, TimeoutError when it does not read.
    """

    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        self.response = response
        self._request = request

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
        response.headers.clear()  # They are out, and a kilobyte for as long as the stream lasts.
        return cls(request, response)

    def send_now(self, data: bytes) -> bool:
        """Writes what can be written without waiting. False, and nothing written: the client is gone or slow, so `send` it.

        Past aiohttp's writer, whose five calls would cost more than everything else that a token costs here. The headers are out,
        since a `StreamResponse` sends them as it is prepared.
        """
        transport = self._request.transport
        if transport is None or transport.is_closing() or len(data) + transport.get_write_buffer_size() >= WRITE_BUFFER:
            return False
        transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self.response.chunked else data)
        return True

    async def send(self, data: bytes) -> None:
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client is gone")
        if len(data) + transport.get_write_buffer_size() < WRITE_BUFFER:
            await self.response.write(data)
            return
        # Only a write that may have to wait pays for a timer.
        for start in range(0, len(data), SLICE):
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await self._request.writer.drain()
                await self.response.write(data[start : start + SLICE])

    async def send_all(self, dependencies: Iterable[bytes]) -> None:
        """One after the other, as few writes as there are slices: for many parts of which each one is small."""
        waiting: list[bytes] = []
        size = 0
        for part in dependencies:
            waiting.append(part)
            size += len(part)
            if size >= SLICE:
                await self.send(b"".join(waiting))
                waiting, size = [], 0
        if waiting:
            await self.send(b"".join(waiting))

    async def ping(self) -> None:
        await self.send(PING)

    async def end(self, data: bytes = b"") -> None:
        """A clean end, after the last data: in one write, where they are small."""
        if len(data) > SLICE:
            await self.send(data)
            data = b""
        async with asyncio.timeout(WRITE_TIMEOUT_S):
            await self.response.write_eof(data)

    def abort(self) -> None:
        """Breaks the connection, so that no client takes what it has for a whole answer."""
        if self._request.transport is not None:
            self._request.transport.abort()
