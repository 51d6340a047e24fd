"""Writing the frames of a worker's attempts into their run logs, many turns in one call."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from redis.exceptions import RedisError

from shared.broker.connections import PipelinedConnection
from shared.broker.redis_py import connection_pool
from shared.broker.script import Script
from shared.broker.shards import Shards
from shared.contracts.frames import FrameId, encode
from shared.log import get_logger
from shared.metrics import FENCED_WRITES
from shared.run_log.keys import VERSION, log_key
from shared.tasks import BackgroundLoops

log = get_logger()

_APPEND = Script.read(Path(__file__).with_name("append.lua"))

STALE_S = 15.0
RECONNECT_PAUSE_S = 0.1
# What one worker may hold unsent before its turns wait.
MAX_UNSENT = 4 << 20
FLUSH_FRAMES = 256
# Characters of one delta frame.
FRAME_TEXT = 2048
# With more turns than this, a flush is followed by a pause. Their deltas come one by one, and what gathers during the
# pause costs one operation. No reader notices so short a delay.
MANY_TURNS: Final = 8
MANY_TURNS_PAUSE_S: Final = 0.006


class Fenced(Exception):
    """A later attempt owns the turn, or the turn has ended. The attempt must stop and write nothing more."""


class TurnWriter:
    """The frame writer of one attempt. Text that is put during a flush becomes one frame of the next flush."""

    def __init__(self, shard: "_ShardWriter", workspace: str, turn_id: str, attempt: int) -> None:
        self.key = log_key(workspace, turn_id)
        self.attempt = attempt
        self.frames: list[bytes] = []  # Kept until the end: a flushed log is written again from here.
        self.sent = 0
        self.error: Exception | None = None
        self.idle = asyncio.Event()
        self.idle.set()
        self._text: list[str] = []
        self._shard = shard

    @property
    def last_seq(self) -> int:
        return len(self.frames)

    def delta(self, text: str) -> None:
        """Never blocks. Raises Fenced once another attempt owns the turn."""
        if self.error is not None:
            raise self.error
        self._text.append(text)
        self._shard.mark(self, len(text))

    def frame(self, event: str, data: dict[str, Any]) -> None:
        """A frame of another kind, after the text put so far."""
        if self.error is not None:
            raise self.error
        self.cut()
        self._shard.mark(self, self._append(event, data))

    def cut(self) -> None:
        """Turns the text put so far into frames.

        Readers take frames whole and a slow reader shall not hold much, so that long text becomes several frames.
        """
        if self._text:
            text = "".join(self._text)
            self._text.clear()
            for start in range(0, len(text), FRAME_TEXT):
                self._append("delta", {"text": text[start : start + FRAME_TEXT]})

    def _append(self, event: str, data: dict[str, Any]) -> int:
        frame = encode(event, data, FrameId(self.attempt, len(self.frames) + 1))
        self.frames.append(frame)
        return len(frame)

    async def room(self) -> None:
        """Backpressure: waits while this worker has too much unsent."""
        await self._shard.room.wait()
        if self.error is not None:
            raise self.error

    async def flush(self) -> None:
        """Returns when everything put so far is in the log. Raises Fenced; waits for as long as the Redis is away."""
        await self.idle.wait()
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self._shard.forget(self)


class _ShardWriter:
    """One flush in flight on one Redis: deltas that arrive meanwhile join the next.

    So there is no delay when the Redis is idle, and there are fewer operations under load.
    """

    def __init__(self, url: str, ttl_ms: int) -> None:
        self.room = asyncio.Event()
        self.room.set()
        self._connection = PipelinedConnection(connection_pool(url))
        self._ttl_ms = ttl_ms
        self._dirty: dict[TurnWriter, int] = {}  # Unsent size of each turn that has something to send.
        self._unsent = 0
        self._wake = asyncio.Event()
        self._open: set[TurnWriter] = set()

    def open(self, workspace: str, turn_id: str, attempt: int) -> TurnWriter:
        turn = TurnWriter(self, workspace, turn_id, attempt)
        self._open.add(turn)
        return turn

    def mark(self, turn: TurnWriter, size: int) -> None:
        """The turn has this much more to send."""
        self._dirty[turn] = self._dirty.get(turn, 0) + size
        self._unsent += size
        if self._unsent >= MAX_UNSENT:
            self.room.clear()
        turn.idle.clear()
        self._wake.set()

    def forget(self, turn: TurnWriter) -> None:
        self._open.discard(turn)
        self._release(self._dirty.pop(turn, 0))

    def _release(self, size: int) -> None:
        self._unsent -= size
        if self._unsent < MAX_UNSENT:
            self.room.set()

    async def run(self, loops: BackgroundLoops, name: str) -> None:
        while True:
            loops.idle(name)
            await self._wake.wait()
            loops.succeeded(name)
            self._wake.clear()
            batch, self._dirty = self._dirty, {}
            for turn in batch:
                try:
                    turn.cut()
                except (
                    TypeError
                ) as error:  # Half a character. Only its turn fails: this task writes for all the others.
                    log.error("text_unwritable", log=turn.key)
                    turn.error = error
            await self._send(list(batch))
            self._release(sum(batch.values()))
            for turn in batch:
                if turn not in self._dirty:
                    turn.idle.set()
            if len(self._open) > MANY_TURNS:
                await asyncio.sleep(MANY_TURNS_PAUSE_S)

    async def _send(self, turns: list[TurnWriter]) -> None:
        """Repeats until each turn's frames are in its log, or the turn has failed. An error concerns one turn only."""
        while turns := [turn for turn in turns if turn.error is None and turn.sent < len(turn.frames)]:
            try:
                await self._flush(turns)
            except (RedisError, OSError) as error:
                log.warning("run_log_unreachable", error=type(error).__name__)
                await asyncio.sleep(RECONNECT_PAUSE_S)

    async def _flush(self, turns: list[TurnWriter]) -> None:
        frames = [
            (turn, seq)
            for turn in turns
            for seq in range(turn.sent + 1, min(len(turn.frames), turn.sent + FLUSH_FRAMES) + 1)
        ]
        for start in range(0, len(frames), FLUSH_FRAMES):
            await self._append(frames[start : start + FLUSH_FRAMES])

    async def _append(self, frames: list[tuple[TurnWriter, int]]) -> None:
        """One call for the frames of many turns: a call costs more than a frame does, here and in Redis."""
        arguments: list[str | bytes | int] = [self._ttl_ms, VERSION]
        for turn, seq in frames:
            arguments += (turn.attempt, seq, turn.frames[seq - 1])
        answers: list[Any] = await _APPEND.run(self._connection.call, [turn.key for turn, _ in frames], arguments)
        refusal: Exception | None = None
        for (turn, seq), answer in zip(frames, answers, strict=True):
            if isinstance(answer, Exception):
                refusal = answer
            elif answer == b"ok":
                turn.sent = seq
            elif answer == b"fenced":
                FENCED_WRITES.labels("run_log").inc()
                turn.error = Fenced()
            else:
                _resend_from(turn, int(answer))
        if refusal is not None:
            # The Redis is read-only or full, or the key is not a log. Repeat.
            log.warning("run_log_refused", error=type(refusal).__name__)
            await asyncio.sleep(RECONNECT_PAUSE_S)

    async def close(self) -> None:
        await self._connection.close()


def _resend_from(turn: TurnWriter, last_seq: int) -> None:
    """The log's tail is not where this writer left it: lower after a flush or failover, higher after a lost answer."""
    if last_seq > len(turn.frames):
        # Only history writes past a writer, and it writes only the end.
        turn.error = Fenced()
    else:
        turn.sent = last_seq


class LogWriter:
    """The writers of one worker, one per stream Redis. `urls`: as `shared/broker/shards.py` describes them.

    Each append renews a log's `ttl_s`, which must exceed twice the turn deadline.
    """

    def __init__(self, urls: Sequence[str], *, ttl_s: float) -> None:
        self._places = Shards(urls)
        self._shards = [_ShardWriter(url, int(ttl_s * 1000)) for url in self._places.urls]
        self.loops = BackgroundLoops()

    async def __aenter__(self) -> Self:
        for number, shard in enumerate(self._shards):
            self.loops.start(name := f"run_log_{number}", shard.run(self.loops, name), stale_after_s=STALE_S)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.loops.end()
        for shard in self._shards:
            await shard.close()

    def open(self, workspace: str, turn_id: str, attempt: int) -> TurnWriter:
        return self._shards[self._places.of(turn_id)].open(workspace, turn_id, attempt)
