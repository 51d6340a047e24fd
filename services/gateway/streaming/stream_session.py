"""The stream driver: it sends one turn to one client, in the protocol of a renderer."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial

from aiohttp import web

from services.gateway.dependencies import Dependencies
from services.gateway.streaming.disconnects import CallerGone
from services.gateway.streaming.follow import Interrupted, follow
from services.gateway.streaming.listener import Listener
from services.gateway.streaming.renderer import End, Rendered, Renderer, Send
from services.gateway.streaming.sse_response import EventStream
from services.gateway.streaming.stream_metrics import SLOW_READERS, STREAMS
from shared.contracts.errors import ApiError
from shared.contracts.frames import BEGINNING, FrameId, StreamFrame
from shared.contracts.turns import ENDED, Turn
from shared.log import get_logger

log = get_logger()

Frames = Callable[[Send], AsyncIterator[Sequence[StreamFrame]]]


class StreamSession:
    """One streamed answer. Make one per request, and call `follow` or `replay` once.

    `headers` are sent beside those of every stream. `comes_back`: the client can ask for this turn again. If it cannot,
    its going away raises CallerGone, so that the route may cancel the turn.

    To add a protocol: write a renderer (see `renderer.py`) in a folder of its own, admit or find the turn in the route,
    listen to it, and `return await StreamSession(renderer).follow(...)`. Nothing else is needed.
    """

    def __init__(
        self, renderer: Renderer, *, headers: Mapping[str, str] | None = None, comes_back: bool = True
    ) -> None:
        self._renderer = renderer
        self._headers = headers
        self._comes_back = comes_back

    async def follow(
        self,
        request: web.Request,
        dependencies: Dependencies,
        workspace: str,
        turn: Turn,
        listener: Listener,
        after: FrameId = BEGINNING,
    ) -> web.StreamResponse:
        """The whole answer: the turn's frames after `after`, up to its end. Raises CallerGone as said above.

        Errors after the headers are rendered; a client that does not read in time is disconnected.
        """

        STREAMS.labels("new" if after == BEGINNING else "resumed").inc()

        def frames(fast_path: Send) -> AsyncIterator[Sequence[StreamFrame]]:
            return follow(
                dependencies,
                workspace,
                turn.id,
                listener,
                after,
                ended=turn.status in ENDED,
                whole_log_first=after == BEGINNING and not self._renderer.can_restart,
                fast_path=fast_path,
            )

        return await self.drive(request, frames, listener)

    async def drive(self, request: web.Request, frames: Frames, listener: Listener) -> web.StreamResponse:
        """The whole answer from batches that the caller makes, for streams of more than one turn."""
        try:
            return await self._run(request, frames, listener)
        finally:
            listener.keep_alive = None

    async def replay(self, request: web.Request, frames: Sequence[StreamFrame]) -> web.StreamResponse:
        """The whole answer from frames that are known already. The last one is terminal."""

        async def known(_: Send) -> AsyncIterator[Sequence[StreamFrame]]:
            yield frames

        return await self._run(request, known)

    async def _run(self, request: web.Request, frames: Frames, listener: Listener | None = None) -> web.StreamResponse:
        stream = await self._start(request)
        if listener is not None:
            listener.keep_alive = partial(stream.ping_now, self._renderer.ping())
        try:
            if first := self._renderer.start():
                await stream.send(first)
            await self._end(stream, await self._send(stream, frames(self._renderer.fast_path(stream.send_now))))
        except (ConnectionError, TimeoutError) as error:
            # The turn runs on and is stored.
            log.debug("client_gone", error=type(error).__name__)
            if isinstance(error, TimeoutError):
                SLOW_READERS.inc()
            stream.abort()
            if not self._comes_back:
                raise CallerGone from None
        return stream.response

    async def _start(self, request: web.Request) -> EventStream:
        """The headers, which cannot be sent to a client that left while its turn was admitted."""
        try:
            return await EventStream.start(request, self._headers)
        except (ConnectionError, TimeoutError):
            if self._comes_back:
                raise
            raise CallerGone from None

    async def _send(self, stream: EventStream, frames: AsyncIterator[Sequence[StreamFrame]]) -> Rendered:
        """Sends everything but the last bytes, which it returns."""
        try:
            async for batch in frames:
                rendered = self._renderer.frames(batch) if batch else Rendered(())
                if rendered.end is not None:
                    return rendered
                if rendered.parts:
                    await stream.send_all(rendered.parts)
                elif batch:
                    # A batch that renders to nothing postpones the heartbeat: the client needs a sign of life instead.
                    await stream.send(self._renderer.ping())
                else:
                    await stream.ping(self._renderer.ping())
        except ApiError as error:
            return self._renderer.failed(error)
        except Interrupted:
            return self._renderer.interrupted()
        raise AssertionError("the terminal frame has rendered to no end")

    async def _end(self, stream: EventStream, rendered: Rendered) -> None:
        if rendered.end is End.CLEAN:
            await stream.end_all(rendered.parts)
        else:
            await stream.send_all(rendered.parts)
            stream.break_off()
