"""A TCP line to the tests' Redis that can fail in the ways in which networks and servers fail."""

import asyncio
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class RedisLine:
    """`url` leads to the Redis by this line."""

    def __init__(self, redis_url: str) -> None:
        self._target = urlsplit(redis_url)
        self._muted: set[int] = set()
        self._mutes_new = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.url = ""
        self.connections = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"redis://127.0.0.1:{port}{self._target.path}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse()

    def mute(self, *, also_new: bool = False) -> None:
        """The connections of now pass nothing on, in neither direction; later ones only if `also_new`."""
        self._muted = set(range(1, self.connections + 1))
        self._mutes_new = also_new

    def refuse(self) -> None:
        """Every connection is reset, and new ones are refused."""
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        if self._mutes_new:
            self._muted.add(number)
        redis_reader, redis_writer = await asyncio.open_connection("127.0.0.1", self._target.port or 6379)
        self._writers |= {writer, redis_writer}
        try:
            await asyncio.gather(self._pass(number, reader, redis_writer), self._pass(number, redis_reader, writer))
        except ConnectionError:
            pass
        finally:
            writer.close()
            redis_writer.close()
            self._writers -= {writer, redis_writer}

    async def _pass(self, number: int, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while number not in self._muted and (data := await source.read(1 << 16)):
            if number not in self._muted:
                sink.write(data)
        while number in self._muted and await source.read(1 << 16):
            pass
        sink.close()
