"""A relay that cuts the first answer at each of its addresses after a given number of bytes of the stream."""

import asyncio
from types import TracebackType
from typing import Final, Self

import aiohttp

_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
)
# Clients that reconnect by themselves would else wait for seconds.
_PREFIX: Final = b"retry: 1\n\n"


class CuttingRelay:
    """`url(n)` leads to a finished turn's stream. Its answers are the gateway's, each fetched once."""

    def __init__(self, session: aiohttp.ClientSession, target: str) -> None:
        self._session = session
        self._target = target
        self._answers: dict[str, asyncio.Task[tuple[int, bytes]]] = {}
        self._was_cut: set[str] = set()
        self._server: asyncio.Server | None = None
        self.statuses = set[int]()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0, backlog=1024)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    def url(self, cut: int) -> str:
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}/{cut}"

    async def body(self, last_id: str = "") -> bytes:
        """The gateway's answer to a reader with this id."""
        _, body = await self._fetched(last_id)
        return body

    def _fetched(self, last_id: str) -> "asyncio.Task[tuple[int, bytes]]":
        if last_id not in self._answers:
            self._answers[last_id] = asyncio.create_task(self._fetch(last_id))
        return self._answers[last_id]

    async def _fetch(self, last_id: str) -> tuple[int, bytes]:
        headers = {"Last-Event-ID": last_id} if last_id else {}
        async with self._session.get(self._target, headers=headers) as response:
            return response.status, await response.read()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            request, *lines = head.split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            path = request.split(" ")[1]
            status, body = await self._fetched(headers.get("last-event-id", ""))
            self.statuses.add(status)
            writer.write(self._rendered(path, status, body))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _rendered(self, path: str, status: int, body: bytes) -> bytes:
        if status != 200:
            return b"HTTP/1.1 %d No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n" % status
        if path in self._was_cut:
            return _HEAD + _chunk(_PREFIX + body) + b"0\r\n\r\n"
        self._was_cut.add(path)
        return _HEAD + _chunk(_PREFIX + body[: int(path[1:])])


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
