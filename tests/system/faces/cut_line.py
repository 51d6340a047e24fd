"""A TCP line between a client and a gateway that a test can cut."""

import asyncio
from types import TracebackType
from typing import Self

from shared.tasks import end_tasks


class CutLine:
    """Listens on a free port and passes bytes both ways. `cut` breaks every connection that is open at that moment."""

    def __init__(self, target: str) -> None:
        """`target`: the gateway's base URL."""
        host, _, port = target.removeprefix("http://").partition(":")
        self._target = host, int(port)
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.opened = 0
        self.passed = b""
        """What the gateway has sent through the line so far."""
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.cut()
        await end_tasks(self._tasks)

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        inner_reader, inner_writer = await asyncio.open_connection(*self._target)
        self._writers |= {writer, inner_writer}
        for source, sink, counts in ((reader, inner_writer, False), (inner_reader, writer, True)):
            task = asyncio.create_task(self._pump(source, sink, counts=counts))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, counts: bool) -> None:
        try:
            while data := await source.read(1 << 16):
                if counts:
                    self.passed += data
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass
        finally:
            self._writers.discard(sink)
            sink.transport.abort()
