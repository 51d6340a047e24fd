"""Reading the run logs of all turns, ending them and erasing them. Writing an attempt's frames is `writer.py`'s."""

import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from redis.asyncio import Redis

from shared.broker.client import connect
from shared.broker.script import Script
from shared.broker.shards import SHARD_STATES, Shards, ShardState
from shared.contracts.frames import BEGINNING, FrameId, StreamFrame, data_of, encode
from shared.metrics import STREAM_SHARDS
from shared.run_log.keys import VERSION, frame_of, log_key, session_channel
from shared.single_flight import SingleFlight

_HERE: Final = Path(__file__).parent
_APPEND_TERMINAL = Script.read(_HERE / "append_terminal.lua")
_ERASE = Script.read(_HERE / "erase.lua")
ERASED_MS: Final = 3_600_000

_Query = tuple[str, str, FrameId, int]


class RunLogs:
    """Reads all turns' logs and ends them. Every method raises redis' RedisError or OSError while the Redis is away."""

    def __init__(self, urls: Sequence[str], *, keep_s: float) -> None:
        """`urls`: as `shared/broker/shards.py` describes them."""
        self._places = Shards(urls)
        self._shards = [connect(url) for url in self._places.urls]
        self._keep_ms = int(keep_s * 1000)
        self._reads = SingleFlight[_Query, list[StreamFrame]]()

    async def __aenter__(self) -> Self:
        for state in SHARD_STATES:
            STREAM_SHARDS.labels(state).set_function(partial(self._count, state))
        return self

    def _count(self, state: ShardState) -> float:
        return float(self._places.states(time.time_ns() // 1_000_000)[state])

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for shard in self._shards:
            await shard.aclose()

    def _shard(self, any_id: str) -> Redis:
        return self._shards[self._places.of(any_id)]

    async def read(self, workspace: str, turn_id: str, after: FrameId, count: int = 256) -> list[StreamFrame]:
        """Up to `count` frames after an id, in order. The list is shared between callers: do not change it.

        A heartbeat and a reconnect make all readers of a turn ask the same at the same time: they share one read.
        """
        query = (workspace, turn_id, after, count)
        return await self._reads.run(query, lambda: self._read(query))

    async def _read(self, query: _Query) -> list[StreamFrame]:
        # The read starts here. A caller that comes later needs an answer that is no older than its question.
        self._reads.forget(query)
        workspace, turn_id, after, count = query
        start = "-" if after == BEGINNING else f"({after}"
        rows = await self._shard(turn_id).xrange(log_key(workspace, turn_id), start, "+", count)
        return [frame_of(entry_id, fields) for entry_id, fields in rows]

    async def tail(self, workspace: str, turn_id: str) -> FrameId:
        """The last frame's id; BEGINNING when there is no log."""
        rows = await self._shard(turn_id).xrevrange(log_key(workspace, turn_id), "+", "-", 1)
        return FrameId.parse(rows[0][0].decode()) if rows else BEGINNING

    async def append_terminal(
        self,
        workspace: str,
        turn_id: str,
        frame_id: FrameId,
        event: str,
        data: dict[str, Any],
        session_id: str | None = None,
    ) -> bool:
        """Ends a turn's stream, after its document was written. False: this frame or a later attempt's is already
        there.

        Unlike an attempt's frames it needs no unbroken log: a log that was flushed is still ended, and its readers see
        the gap. The readers of the turn's session are told in the same step.
        """
        channel = session_channel(workspace, session_id) if session_id is not None else ""
        frame = encode(event, data, frame_id)
        arguments: list[str | bytes | int] = [self._keep_ms, VERSION, str(frame_id), frame, channel, turn_id]
        key = log_key(workspace, turn_id)
        return bool(await _APPEND_TERMINAL.run(self._shard(turn_id).execute_command, [key], arguments))

    async def signal_session(self, workspace: str, session_id: str, turn_id: str = "") -> None:
        """Tells the readers of a session to look at what is stored. They look by themselves where this is lost.

        Without a turn by way of the first server, which stays: while the one of the session's time is taken out of the
        list, some processes signal there still and others listen there no more.
        """
        server = self._shard(turn_id) if turn_id else self._shards[0]
        await server.publish(session_channel(workspace, session_id), turn_id)

    async def erase(self, workspace: str, turn_id: str) -> bool:
        """Deletes the log for good. Whether there was one.

        A worker that does not know of it yet, or was paused, would write the log again as it does with a flushed one:
        for `ERASED_MS` its writes are refused.
        """
        return bool(await _ERASE.run(self._shard(turn_id).execute_command, [log_key(workspace, turn_id)], [ERASED_MS]))

    async def ping(self) -> None:
        for shard in self._shards:
            await shard.ping()


def written_text(frames: Iterable[StreamFrame]) -> str:
    """The text that the highest attempt among these frames has written. Frames without an id are left out."""
    last = frames_of_last_attempt(frames)
    return "".join([data_of(frame.data)["text"] for frame in last if frame.event == "delta"])


def frames_of_last_attempt(frames: Iterable[StreamFrame]) -> list[StreamFrame]:
    """Those of the highest attempt. Frames without an id are left out."""
    attempt, found = 0, list[StreamFrame]()
    for frame in frames:
        if frame.id is None:
            continue
        if frame.id.attempt > attempt:
            attempt, found = frame.id.attempt, []
        found.append(frame)
    return found
