"""A TCP proxy between two parts of the stack. It can cut, delay and swallow connections, or drop their answers."""

import asyncio
from collections import deque
from types import TracebackType
from typing import Self, cast

from deploy.local.processes import free_port


class Link:
    """Listens on `port` and connects each client with the target. The attributes are switched while it runs.

    `delay_s`: every byte is this much late, in both directions · `black_hole`: nothing arrives any more, in either
    direction · `mute`: what is asked arrives, what is answered does not: a write is applied and its answer lost.
    """

    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        self.delay_s = 0.0
        self.black_hole = False
        self.mute = False
        self._target_port = target_port
        self._ends: set[_End] = set()
        self._dialing: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _End(self, is_client=True), "127.0.0.1", self.port
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._dialing:
            task.cancel()
        await asyncio.gather(*self._dialing, return_exceptions=True)
        self.cut()

    def cut(self) -> int:
        """Breaks every connection; how many there were."""
        count = sum(end.is_client for end in self._ends)
        for end in list(self._ends):
            end.abort()
        return count

    def heal(self) -> None:
        """As if nothing had been: what was swallowed leaves broken connections behind."""
        swallowed = self.black_hole or self.mute
        self.delay_s, self.black_hole, self.mute = 0.0, False, False
        if swallowed:
            self.cut()

    @property
    def connections(self) -> int:
        return sum(end.is_client for end in self._ends)

    # --- for the ends

    def opened(self, end: "_End") -> None:
        self._ends.add(end)
        if end.is_client:
            task = asyncio.create_task(self._dial(end))
            self._dialing.add(task)
            task.add_done_callback(self._dialing.discard)

    def closed(self, end: "_End") -> None:
        self._ends.discard(end)

    async def _dial(self, client: "_End") -> None:
        server = _End(self, is_client=False)
        try:
            await asyncio.get_running_loop().create_connection(lambda: server, "127.0.0.1", self._target_port)
        except OSError:
            client.abort()
        else:
            client.join(server)

    def swallows(self, end: "_End") -> bool:
        return self.black_hole or (self.mute and not end.is_client)


class _End(asyncio.Protocol):
    """One side of a connection: what it receives goes to its peer."""

    def __init__(self, link: Link, *, is_client: bool) -> None:
        self.is_client = is_client
        self._link = link
        self._transport: asyncio.Transport | None = None
        self._peer: _End | None = None
        self._early: list[bytes] = []
        self._late: deque[tuple[float, bytes]] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._link.opened(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._link.closed(self)
        if self._peer is not None:
            self._peer.close()

    def join(self, peer: "_End") -> None:
        self._peer, peer._peer = peer, self
        if self._transport is None or self._transport.is_closing():
            peer.close()
        for data in self._early:
            self._forward(data)
        self._early.clear()

    def data_received(self, data: bytes) -> None:
        if self._link.swallows(self):
            return
        if self._peer is None:
            self._early.append(data)
            return
        if not self._late and not self._link.delay_s:
            self._forward(data)
            return
        loop = asyncio.get_running_loop()
        self._late.append((loop.time() + self._link.delay_s, data))
        if len(self._late) == 1:
            loop.call_at(self._late[0][0], self._deliver)

    def _deliver(self) -> None:
        """In order, also after the delay was changed: one timer, of the first one that waits."""
        loop = asyncio.get_running_loop()
        while self._late and self._late[0][0] <= loop.time():
            self._forward(self._late.popleft()[1])
        if self._late:
            loop.call_at(self._late[0][0], self._deliver)

    def _forward(self, data: bytes) -> None:
        if self._peer is not None and self._peer._transport is not None and not self._peer._transport.is_closing():
            self._peer._transport.write(data)

    def pause_writing(self) -> None:
        if self._peer is not None and self._peer._transport is not None:
            self._peer._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._peer is not None and self._peer._transport is not None:
            self._peer._transport.resume_reading()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
