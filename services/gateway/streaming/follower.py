"""One stream's position in its turn: what it may send next, and where it has to look for it."""

import asyncio
from enum import Enum, auto
from typing import Final

from redis.exceptions import RedisError

from services.gateway.dependencies import Dependencies
from services.gateway.streaming.listener import FastPath, Listener
from services.gateway.streaming.replay import replayed_from_stored
from services.gateway.streaming.stream_metrics import STREAM_GAPS
from shared.contracts.errors import ApiError, Code
from shared.contracts.frames import FrameId, StreamFrame, continues, decode
from shared.contracts.turns import ENDED

# Frames per read of the log. A stream begins with few, since one frame may be 100 times as long as another.
LOG_PAGE: Final = 128
FIRST_PAGE: Final = 8
PAGE_BYTES: Final = 16 << 10
LOG_RETRY_S: Final = 0.2


class _Doubt(Enum):
    """Whether the turn may have ended without this stream's notice."""

    NONE = auto()
    SUSPECTED = auto()
    CONFIRMED = auto()


class Follower:
    """Each step reads the log if it must, asks history if the turn may have ended, and else waits for published frames.

    `whole_log_first`: the first batch is everything that the log holds by then, however many pages that is.
    """

    def __init__(
        self,
        dependencies: Dependencies,
        workspace: str,
        turn_id: str,
        listener: Listener,
        after: FrameId,
        *,
        ended: bool = False,
        whole_log_first: bool = False,
        fast_path: FastPath | None = None,
    ) -> None:
        self._dependencies = dependencies
        self._turn = workspace, turn_id
        self._listener = listener
        self._position = after
        self._doubt = _Doubt.CONFIRMED if ended else _Doubt.NONE
        self._fast_path = fast_path
        self._log_so_far: list[StreamFrame] | None = [] if whole_log_first else None
        self._page = LOG_PAGE if whole_log_first else FIRST_PAGE

    async def step(self) -> list[StreamFrame] | None:
        """Frames to send, an empty list for a heartbeat, None for neither."""
        frames = await self._step()
        return frames if self._log_so_far is None else self._collected(self._log_so_far, frames)

    async def _step(self) -> list[StreamFrame] | None:
        if self._listener.gap:
            return await self._from_log()
        if self._doubt is not _Doubt.NONE:
            return await self._from_history()
        can_forward = self._fast_path is not None and self._log_so_far is None
        await self._listener.wait(self._forward if can_forward else None)
        return self._live()

    def _collected(self, log_so_far: list[StreamFrame], frames: list[StreamFrame] | None) -> list[StreamFrame] | None:
        """Holds the log's pages back until the last one has been read.

        An attempt that was given up before the reader came is thus seen together with the restart that voids it.
        Nothing is forwarded meanwhile: it would overtake what is held back here.
        """
        log_so_far += frames or ()
        is_last_page = not self._listener.gap and self._doubt is not _Doubt.CONFIRMED
        if not is_last_page and not (frames and frames[-1].is_terminal):
            return None if frames else frames
        self._log_so_far = None
        return log_so_far or frames

    def _forward(self, frame: bytes) -> bool:
        """The fast path: the published frame directly follows what was sent, and is not the terminal one."""
        if not continues(frame, self._position):
            return False
        assert self._fast_path is not None
        if not self._fast_path(frame):
            return False
        attempt, seq = self._position
        self._position = FrameId(attempt, seq + 1)
        return True

    async def _from_log(self) -> list[StreamFrame] | None:
        # From here on the listener keeps what is published, so that nothing is missed after this read.
        self._listener.gap = False
        try:
            rows = await self._dependencies.logs.read(*self._turn, self._position, self._page)
        except (RedisError, OSError):
            self._listener.lose()
            await asyncio.sleep(LOG_RETRY_S)
            return self._live()
        frames = self._proved(rows)
        if not frames:
            if rows:
                # The log holds only what came after a loss. What came before it must be read from the document.
                self._doubt = _Doubt.CONFIRMED
            return None
        self._doubt = _Doubt.NONE
        if len(rows) == self._page or len(frames) < len(rows):
            self._listener.lose()
        if self._log_so_far is None:
            self._page = next_page(self._page, sum(len(frame.data) for frame in rows))
        return frames

    def _proved(self, rows: list[StreamFrame]) -> list[StreamFrame]:
        """The log's next frames, as far as each one follows the one before.

        A Redis that restarts may have lost some in between.
        """
        frames = list[StreamFrame]()
        for frame in rows:
            if frame.id is None or not _proves(frame, frame.id, self._position):
                break
            self._position = frame.id
            frames.append(frame)
        return frames

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
        # The document is written before the terminal frame. Wait for as long as that frame takes, and look again.
        self._doubt = _Doubt.CONFIRMED
        await asyncio.sleep(LOG_RETRY_S)
        self._listener.lose()
        return None

    def _live(self) -> list[StreamFrame] | None:
        """What is new among the published frames, up to the first that does not follow: then the log must be read."""
        silent, frames = self._listener.silent, list[StreamFrame]()
        for published in self._listener.take():
            frame = _decoded(published)
            if frame.id is not None and frame.id <= self._position:
                continue
            if frame.id is None or not frame.id.follows(self._position):
                STREAM_GAPS.labels("missing").inc()
                self._listener.lose()
                break
            self._position = frame.id
            frames.append(frame)
        if silent and not frames:
            # The publication itself may have been lost: the log is read, and then history is asked.
            self._doubt = _Doubt.SUSPECTED
            self._listener.lose()
            return frames
        return frames or None


def _decoded(published: bytes) -> StreamFrame:
    """A published frame. It has no id when another version wrote it: then the log is read."""
    try:
        return decode(published)
    except ValueError:
        return StreamFrame(None, published)


def next_page(page: int, size: int) -> int:
    """How many frames to read next, after a read of at most `page` frames has brought `size` bytes."""
    if size > PAGE_BYTES:
        return max(1, page // 4)
    return min(LOG_PAGE, page * 2) if size < PAGE_BYTES // 4 else page


def _proves(frame: StreamFrame, frame_id: FrameId, position: FrameId) -> bool:
    """Whether a log whose next entry is this frame continues what ended at `position`.

    A later attempt's first frame does: the log is whole up to its tail, and that frame says that the text before it is
    void. Only `done` does not say so: where history itself ended a turn, its document may hold other text than the
    attempt before had written.
    """
    if frame_id.follows(position):
        return True
    return frame_id.attempt > position.attempt and frame_id.seq == 1 and frame.event != "done"
