"""What one stream has received and not yet taken: a bounded buffer of published frames, and why the stream is woken."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from services.gateway.streaming.stream_metrics import STREAM_GAPS
from shared.log import get_logger

log = get_logger()

LISTENER_LIMIT: Final = 16 << 10

FastPath = Callable[[bytes], bool]


class Listener:
    """A stream's subscriber. Past the limit its buffer is dropped, and the stream goes back to the log.

    The fast path may send a frame before anyone is woken, and says whether it did. It is asked only while the stream
    waits here and nothing is buffered before that frame: so order is kept, and a token costs no task switch.

    `keep_alive`, where set, is called after a heartbeat of silence, whatever the stream waits for at that moment. So a
    stream stays alive also while its log or history does not answer.
    """

    __slots__ = ("_fast_path", "_waiter", "active_at", "closed", "frames", "gap", "keep_alive", "silent", "size")

    def __init__(self, *, gap: bool = True) -> None:
        self.frames: list[bytes] = []
        self.size = 0
        self.gap = gap
        self.silent = False
        self.closed = False
        self.active_at = time.monotonic()
        self.keep_alive: Callable[[], None] | None = None
        self._fast_path: FastPath | None = None
        self._waiter: asyncio.Future[None] | None = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def deliver(self, frame: bytes) -> None:
        """A published frame."""
        if self.gap:
            self._wake()
            return
        if self._fast_path is not None and not self.frames and _forwarded(self._fast_path, frame):
            self.active_at = time.monotonic()
            return
        self.frames.append(frame)
        self.size += len(frame)
        if self.size > LISTENER_LIMIT:
            STREAM_GAPS.labels("behind").inc()
            self.lose()
        self._wake()

    def lose(self) -> None:
        """Something may have been missed: only the log can say."""
        self.frames = []
        self.size = 0
        self.gap = True
        self._wake()

    def heartbeat(self) -> None:
        """Nothing was received for a heartbeat."""
        self.active_at = time.monotonic()
        if self.keep_alive is not None:
            self.keep_alive()
        self.silent = True
        self._wake()

    def close(self) -> None:
        """The gateway drains."""
        self.closed = True
        self._wake()

    async def wait(self, fast_path: FastPath | None = None) -> None:
        """Until there is something to do: frames that `fast_path` did not take, a gap, silence or the end."""
        self._fast_path = fast_path
        try:
            while not (self.frames or self.gap or self.silent or self.closed):
                # A future instead of an event: an event would hold 700 bytes for waiters that never exist.
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
        finally:
            self._fast_path = self._waiter = None

    def take(self) -> list[bytes]:
        """The buffered frames, in order."""
        frames, self.frames, self.size, self.silent = self.frames, [], 0, False
        if frames:
            # Only frames count as activity: a stream that cannot read its log takes nothing, again and again.
            self.active_at = time.monotonic()
        return frames


def _forwarded(fast_path: FastPath, frame: bytes) -> bool:
    """One stream's failure must not end the connection that all of them share."""
    try:
        return fast_path(frame)
    except Exception:
        log.exception("frame_not_forwarded")
        return False
