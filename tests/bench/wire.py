"""HTTP of the load clients: one raw connection each. Pieces are kept with their times and parsed afterwards.

So a token costs the client one list entry while the clock runs, and the client's own work falls into no figure.
"""

import asyncio
import socket
from bisect import bisect_left
from collections.abc import Iterator
from time import perf_counter
from typing import Final, NamedTuple, cast

_LAST_CHUNK: Final = b"0\r\n\r\n"


class BadAnswer(Exception):
    """An answer is not what was asked for: a status, a broken body or a wrong text."""


class Event(NamedTuple):
    """A server-sent event, at the time when its last byte had come. `name` is empty where the stream names none."""

    at: float
    name: str
    data: bytes


class Answer(NamedTuple):
    """One response. Times are of the performance counter: uvloop's own clock counts whole milliseconds."""

    sent_at: float
    pieces: list[tuple[float, bytes]]

    @property
    def ended_at(self) -> float:
        return self.pieces[-1][0]

    @property
    def status(self) -> int:
        return int(self.pieces[0][1][9:12])

    def body(self) -> bytes:
        return b"".join(data for _, data in self._chunks())

    def _chunks(self) -> Iterator[tuple[float, bytes]]:
        """The body, with the time at which each part of the transfer coding was whole."""
        raw = b"".join(piece for _, piece in self.pieces)
        ends, total = list[int](), 0
        for _, piece in self.pieces:
            total += len(piece)
            ends.append(total)
        at = raw.index(b"\r\n\r\n") + 4
        if b"chunked" not in raw[:at]:
            yield self.ended_at, raw[at:]
            return
        while at < len(raw):
            line = raw.index(b"\r\n", at)
            size, start = int(raw[at:line], 16), line + 2
            at = start + size + 2
            if size:
                yield self.pieces[bisect_left(ends, start + size)][0], raw[start : start + size]

    def events(self) -> list[Event]:
        """The events of the stream; comments are left out. Raises BadAnswer."""
        if self.status != 200:
            raise BadAnswer(f"HTTP {self.status}: {self.body()[:300]!r}")
        rest, events = b"", list[Event]()
        for at, chunk in self._chunks():
            *whole, rest = (rest + chunk).split(b"\n\n")
            events.extend(event for text in whole if (event := _event(at, text)) is not None)
        return events


def _event(at: float, text: bytes) -> Event | None:
    name, data = "", b""
    for line in text.split(b"\n"):
        if line.startswith(b"data: "):
            data = line[6:]
        elif line.startswith(b"event: "):
            name = line[7:].decode()
    return Event(at, name, data) if data else None


class Wire(asyncio.Protocol):
    """One keep-alive connection with one request at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._pieces: list[tuple[float, bytes]] = []
        self._tail = b""
        self._left: int | None = None  # Bytes that a body of known length still lacks.
        self._done: asyncio.Future[None] | None = None
        self.closed = False

    @classmethod
    async def open(cls, host: str, port: int, *, receive_buffer: int | None = None) -> "Wire":
        """`receive_buffer`: what the kernel may hold for this client, in bytes."""
        connection = socket.socket()
        connection.setblocking(False)
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, (host, port))
        _, wire = await loop.create_connection(cls, sock=connection)
        return wire

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes) -> "asyncio.Future[None]":
        """Done when the response is whole, or the connection is gone."""
        self._pieces, self._tail, self._left = [], b"", None
        self._done = self._loop.create_future()
        self._transport.write(request)
        return self._done

    async def ask(self, request: bytes) -> Answer:
        sent_at = perf_counter()
        await self.send(request)
        return Answer(sent_at, self._pieces)

    @property
    def started(self) -> bool:
        """Whether anything of the answer has come."""
        return bool(self._pieces)

    def answer(self, sent_at: float) -> Answer:
        """What has come so far."""
        return Answer(sent_at, self._pieces)

    def data_received(self, data: bytes) -> None:
        first = not self._pieces
        self._pieces.append((perf_counter(), data))
        if first:
            self._left = _length_left(data)
        elif self._left is not None:
            self._left -= len(data)
        self._tail = (self._tail + data)[-5:] if len(data) < 5 else data[-5:]
        whole = self._tail == _LAST_CHUNK if self._left is None else self._left <= 0
        if whole and self._done is not None and not self._done.done():
            self._done.set_result(None)

    def connection_lost(self, _: Exception | None) -> None:
        self.closed = True
        if self._done is not None and not self._done.done():
            self._done.set_exception(BadAnswer("the connection was closed before the end"))
            self._done.exception()

    def stop_reading(self) -> None:
        self._transport.pause_reading()

    def close(self) -> None:
        self._transport.abort()


def _length_left(first_piece: bytes) -> int | None:
    """How much of a body with a known length is still to come; None for a chunked one."""
    head, _, body = first_piece.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:]) - len(body)
    return 0 if head[9:12] == b"204" else None


def http_request(method: str, path: str, host: str, key: str, body: bytes = b"") -> bytes:
    """A request's bytes."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", f"Authorization: Bearer {key}"]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body
