"""Following a turn: from the log, then live, and where neither can prove that nothing is missing, from the stored turn."""

import asyncio
from collections.abc import AsyncIterator, Callable
from enum import Enum, auto
from typing import Any, Final

from aiohttp import web
from redis.exceptions import RedisError

from services.gateway.dependencies import Dependencies
from services.gateway.streaming.hub import Listener
from services.gateway.streaming.sse_response import EventStream
from shared.contracts.errors import ApiError, Code
from shared.contracts.frames import (
    BEGINNING,
    FrameId,
    StreamFrame,
    continues,
    data_of,
    decode,
    encode,
    stream_frame,
)
from shared.contracts.turns import StoredTurn, Turn, terminal_frame
from shared.log import get_logger
from shared.web.middleware import REQUEST_ID

log = get_logger()

# Frames per read of the log. For readers who may not take them it begins small, since one frame may be 100 times as long as another.
LOG_PAGE: Final = 128
FIRST_PAGE: Final = 8
PAGE_BYTES: Final = 16 << 10
LOG_RETRY_S: Final = 0.2
POSITION_TIMEOUT_S: Final = 0.9
ENDED: Final = frozenset({"completed", "cancelled", "failed"})


class Interrupted(Exception):
    """This gateway drains: the stream ends here and goes on at another one."""


Forward = Callable[[bytes], bool]


async def follow(
    dependencies: Dependencies,
    workspace: str,
    turn_id: str,
    listener: Listener,
    after: FrameId = BEGINNING,
    *,
    ended: bool = False,
    gently: bool = False,
    forward: Forward | None = None,
) -> AsyncIterator[list[StreamFrame]]:
    """A turn's frames after `after`, in order, without gap or repeat, up to and with the terminal one.

    An empty list is a heartbeat: nothing happened for almost 5 s. `ended` tells that the turn is known to be stored as
    terminal, so that a log that has nothing more is not waited for. `gently` bounds what one batch from the log holds by its bytes,
    else every batch of `LOG_PAGE` frames is followed by another. Raises Interrupted, and `turn_not_found` once the turn
    has been deleted.

    `forward` gets a published frame as it comes in; if it takes it, the frame is in no batch. It is offered only what follows
    without a gap on everything before it, and never the terminal frame.
    """
    page = FIRST_PAGE if gently else LOG_PAGE
    follower = _Follower(dependencies, workspace, turn_id, listener, after, ended=ended, page=page, forward=forward)
    while not listener.closed:
        batch = await follower.step()
        if batch is None:
            continue
        yield batch
        if batch and batch[-1].is_terminal:
            return
    raise Interrupted


class _Doubt(Enum):
    """Whether the turn may have ended without this stream's having been told."""

    NONE = auto()
    SUSPECTED = auto()
    CONFIRMED = auto()


class _Follower:
    """One stream's place in its turn. Each step reads the log if it must, asks history if it doubts, else listens."""

    def __init__(
        self,
        dependencies: Dependencies,
        workspace: str,
        turn_id: str,
        listener: Listener,
        after: FrameId,
        *,
        ended: bool,
        page: int,
        forward: Forward | None,
    ) -> None:
        self._dependencies = dependencies
        self._forward = forward
        self._turn = workspace, turn_id
        self._listener = listener
        self._position = after
        self._page = page
        self._is_gentle = page < LOG_PAGE
        self._doubt = _Doubt.CONFIRMED if ended else _Doubt.NONE

    async def step(self) -> list[StreamFrame] | None:
        """Frames to send, an empty list for a heartbeat, None for neither."""
        if self._listener.gap:
            return await self._from_log()
        if self._doubt is not _Doubt.NONE:
            return await self._from_history()
        await self._listener.wait(self._fast_path if self._forward is not None else None)
        return self._live()

    def _fast_path(self, frame: bytes) -> bool:
        """The usual frame on its usual way: the next one, and not the last."""
        if not continues(frame, self._position):
            return False
        assert self._forward is not None
        if not self._forward(frame):
            return False
        attempt, seq = self._position
        self._position = FrameId(attempt, seq + 1)
        return True

    async def _from_log(self) -> list[StreamFrame] | None:
        self._listener.gap = False  # From here on what is published is kept, so nothing is missed behind this read.
        try:
            rows = await self._dependencies.logs.read(*self._turn, self._position, self._page)
        except (RedisError, OSError):
            self._listener.lose()
            await asyncio.sleep(LOG_RETRY_S)
            return self._live()
        told = self._proved(rows)
        if rows and not told:
            # Only what came after a loss stands there: what came before it must be told from the document.
            self._doubt = _Doubt.CONFIRMED
        if not told:
            return None
        self._doubt = _Doubt.NONE
        if len(rows) == self._page or len(told) < len(rows):
            self._listener.lose()
        if self._is_gentle:
            self._page = _next_page(self._page, sum(len(frame.data) for frame in rows))
        return told

    def _proved(self, rows: list[StreamFrame]) -> list[StreamFrame]:
        """The log's next frames, as far as each one follows the one before: a Redis that restarts may have lost some in between."""
        told = list[StreamFrame]()
        for frame in rows:
            if frame.id is None or not _proves(frame, self._position):
                break
            self._position = frame.id
            told.append(frame)
        return told

    async def _from_history(self) -> list[StreamFrame] | None:
        doubt, self._doubt = self._doubt, _Doubt.NONE
        try:
            turn = await self._dependencies.turn_status.state(*self._turn)
            if turn is None:
                raise ApiError(Code.TURN_NOT_FOUND)
            if turn.status not in ENDED:
                return None
            if doubt is _Doubt.CONFIRMED:
                return replayed_from_stored(await self._dependencies.history.turn(*self._turn))
        except ApiError as error:
            if error.code is Code.DEPENDENCY_UNAVAILABLE:
                return None
            raise
        # The document is written before the terminal frame: give the frame the time that it takes, and look again.
        self._doubt = _Doubt.CONFIRMED
        await asyncio.sleep(LOG_RETRY_S)
        self._listener.lose()
        return None

    def _live(self) -> list[StreamFrame] | None:
        """What is new among the published frames, up to the first that does not follow: then the log must be read."""
        silent, told = self._listener.silent, list[StreamFrame]()
        for published in self._listener.take():
            frame = _decoded(published)
            if frame.id is not None and frame.id <= self._position:
                continue
            if frame.id is None or not frame.id.follows(self._position):
                self._listener.lose()
                break
            self._position = frame.id
            told.append(frame)
        if silent and not told:
            # The doorbell itself may have been lost: the log is read, and then the document is asked.
            self._doubt = _Doubt.SUSPECTED
            self._listener.lose()
            return told
        return told or None


def _decoded(published: bytes) -> StreamFrame:
    """A published frame. Without an id when another version wrote it: then the log is read."""
    try:
        return decode(published)
    except ValueError:
        return StreamFrame(None, published)


def _next_page(page: int, size: int) -> int:
    """How many frames to read next, after a read of at most `page` frames has brought `size` bytes."""
    if size > PAGE_BYTES:
        return max(1, page // 4)
    return min(LOG_PAGE, page * 2) if size < PAGE_BYTES // 4 else page


def _proves(frame: StreamFrame, position: FrameId) -> bool:
    """Whether a log whose next entry is this frame continues what ended at `position`.

    A later attempt's first frame does: the log is whole up to its tail, and that frame says that the text before it is void. Only
    `done` does not say so: where history itself ended a turn, its document may hold other text than the attempt before showed.
    """
    assert frame.id is not None
    if frame.id.follows(position):
        return True
    return frame.id.attempt > position.attempt and frame.id.seq == 1 and frame.event != "done"


def replayed_from_stored(stored: StoredTurn) -> list[StreamFrame]:
    """A stored turn for a reader whose continuity cannot be proved: drop what you have, here is all of it."""
    text = "".join(message.content or "" for message in stored.output if message.role == "assistant")
    event, data = terminal_frame(stored.turn, stored.output)
    return [
        stream_frame("restarted", {"attempt": stored.turn.attempt, "reason": "log_expired"}),
        *([stream_frame("delta", {"text": text})] if text else []),
        stream_frame(event, data, FrameId(stored.turn.attempt, stored.last_seq)),
    ]


async def outcome(
    dependencies: Dependencies, workspace: str, turn_id: str, listener: Listener
) -> tuple[str, dict[str, Any]]:
    """Waits for the turn's end: `("done", data)` or `("error", data)`. Raises `draining` with the turn's id when the gateway stops."""
    try:
        async for batch in follow(dependencies, workspace, turn_id, listener):
            if batch and batch[-1].is_terminal:
                return batch[-1].event, data_of(batch[-1].data)
    except Interrupted:
        pass
    raise ApiError(Code.DRAINING, "The turn goes on; ask for it again.", members={"turnId": turn_id})


async def send_events(
    request: web.Request,
    dependencies: Dependencies,
    workspace: str,
    session_id: str,
    turn: Turn,
    user_message_id: str,
    listener: Listener,
    after: FrameId | None,
    *,
    position: int | None = None,
) -> web.StreamResponse:
    """The whole SSE answer of the session routes. `position` is the turn's place in the queue, when the caller knows it.

    A stream that cannot go on ends without a terminal frame, which no client may take for an answer: it resumes.
    """
    stream = await EventStream.start(request)
    try:
        if after is None:
            await stream.send(await _queued(dependencies, session_id, turn, user_message_id, position))
        frames = follow(
            dependencies,
            workspace,
            turn.id,
            listener,
            after or BEGINNING,
            ended=turn.status in ENDED,
            gently=True,
            forward=stream.send_now,
        )
        try:
            async for batch in frames:
                if batch and batch[-1].is_terminal:
                    await stream.send_all(frame.data for frame in batch[:-1])
                    await stream.end(batch[-1].data)
                    return stream.response
                await (stream.send_all(frame.data for frame in batch) if batch else stream.ping())
        except ApiError as error:
            await stream.send(encode("error", {"turnId": turn.id, **error.problem(request[REQUEST_ID])}))
        except Interrupted:
            log.debug("stream_interrupted", turn_id=turn.id)
        await stream.end()
    except (ConnectionError, TimeoutError) as error:
        # The turn runs on and is stored; the client may resume it.
        log.debug("client_gone", turn_id=turn.id, error=type(error).__name__)
        stream.abort()
    return stream.response


async def _queued(
    dependencies: Dependencies, session_id: str, turn: Turn, user_message_id: str, position: int | None
) -> bytes:
    if position is None:
        try:
            async with asyncio.timeout(POSITION_TIMEOUT_S):
                position = await dependencies.queue.position(turn.id)
        except (RedisError, OSError):
            position = None
    data = {"turnId": turn.id, "sessionId": session_id, "userMessageId": user_message_id, "position": position or 0}
    return encode("queued", data)
