"""The run log: one short-lived Redis stream per turn, and a channel of the same name that says the same at once.

An entry's id is the frame's, `<attempt>-<seq>`, chosen by who writes it: it is the order, the dedupe key and the fence in one.
Writers, readers and the terminal append stand together here because they are one contract.
"""

import asyncio
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Final, Self

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.broker.connections import Script, Wire, connect, connection_pool, shard_of
from shared.contracts.frames import BEGINNING, FrameId, data_of, event_of, frame_body, frame_bytes
from shared.log import get_logger
from shared.metrics import FENCED_WRITES
from shared.tasks import end_tasks

log = get_logger()

_FIELD: Final = b"f"
RECONNECT_PAUSE_S = 0.1
# What one worker may hold unsent before its turns wait.
MAX_UNSENT = 4 << 20
FLUSH_FRAMES = 256
# Characters of one delta frame.
FRAME_TEXT = 2048
# With more turns than this at once, a flush is followed by a pause: their deltas come one by one, and what gathers meanwhile costs
# one operation. Nobody sees so short a delay.
CROWD = 8
CROWD_PAUSE_S = 0.006


def log_key(workspace: str, turn_id: str) -> str:
    """The name of the log and of the channel. The workspace is part of it, so that no id alone opens another's stream."""
    return f"turn:{workspace}:{turn_id}"


# KEYS: the log of each frame. ARGV: ttl_ms, then attempt, seq and body of each frame. Answers for each frame: 'ok', 'fenced', the seq
# that the log has of this attempt, or an error, which is that frame's alone.
# The tail is compared here and not by XADD's own refusal, because a frame that is missing before this one must be seen too.
# A log without a tail is begun, or was flushed, or was erased; only then its writer knows too much.
_APPEND = Script.of("""
local function append(log, attempt_text, seq_text, body)
  local tail = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)
  if not tail[1] and redis.call('EXISTS', 'erased:' .. log) == 1 then return 'fenced' end
  local attempt, seq, mine, next = 0, 0, tonumber(attempt_text), tonumber(seq_text)
  if tail[1] then
    local a, s = string.match(tail[1][1], '(%d+)-(%d+)')
    attempt, seq = tonumber(a), tonumber(s)
  end
  if attempt > mine then return 'fenced' end
  local had = attempt == mine and seq or 0
  if had ~= next - 1 then return had end
  local id = attempt_text .. '-' .. seq_text
  redis.call('XADD', log, id, 'f', body)
  redis.call('PUBLISH', log, 'id: ' .. id .. '\\n' .. body)
  redis.call('PEXPIRE', log, ARGV[1])
  return 'ok'
end
local answers = {}
for i, log in ipairs(KEYS) do
  local done, answer = pcall(append, log, ARGV[3 * i - 1], ARGV[3 * i], ARGV[3 * i + 1])
  if not done and type(answer) ~= 'table' then answer = {err = tostring(answer)} end
  answers[i] = answer
end
return answers
""")

# KEYS: log. ARGV: keep_ms, id, body, whole frame → 1, or 0 when the log has this id or a later one, or was erased.
_APPEND_TERMINAL = Script.of("""
if redis.call('EXISTS', 'erased:' .. KEYS[1]) == 1 then return 0 end
local added = redis.pcall('XADD', KEYS[1], ARGV[2], 'f', ARGV[3])
if type(added) == 'table' and added.err then
  if string.find(added.err, 'equal or smaller') then return 0 end
  return added
end
redis.call('PUBLISH', KEYS[1], ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
""")


# KEYS: log. ARGV: how long its writers may still be there, ms.
_ERASE = Script.of("""
redis.call('DEL', KEYS[1])
redis.call('SET', 'erased:' .. KEYS[1], '', 'PX', ARGV[1])
return 1
""")
ERASED_MS: Final = 3_600_000

_Question = tuple[str, str, FrameId, int]


def _look_away(task: "asyncio.Task[Any]") -> None:
    """The error of a read that nobody waits for any more is nobody's."""
    if not task.cancelled():
        task.exception()


class Fenced(Exception):
    """A later attempt owns the turn, or its end is already told: whoever gets this stops and writes nothing more."""


class RunLogs:
    """Reads all turns' logs and ends them. Every method raises redis' RedisError or OSError while the Redis is away."""

    def __init__(self, urls: Sequence[str], *, keep_s: float) -> None:
        self._shards = [connect(url) for url in urls]
        self._keep_ms = int(keep_s * 1000)
        self._asked: dict[_Question, asyncio.Task[list[tuple[FrameId, bytes]]]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for shard in self._shards:
            await shard.aclose()

    def _shard(self, turn_id: str) -> Redis:
        return self._shards[shard_of(turn_id, len(self._shards))]

    async def read(self, workspace: str, turn_id: str, after: FrameId, count: int = 256) -> list[tuple[FrameId, bytes]]:
        """Up to `count` frames after an id, as (id, body), in order. Not to be changed: it may be another's answer too.

        A heartbeat and a reconnect make all readers of a turn ask for the same at once: they share one read.
        """
        question = (workspace, turn_id, after, count)
        answer = self._asked.get(question)
        if answer is None:
            answer = self._asked[question] = asyncio.create_task(self._read(question))
            answer.add_done_callback(_look_away)
        return await asyncio.shield(answer)

    async def _read(self, question: _Question) -> list[tuple[FrameId, bytes]]:
        # From here on the question is under way: whoever asks later needs an answer that is no older than that.
        del self._asked[question]
        workspace, turn_id, after, count = question
        start = "-" if after == BEGINNING else f"({after}"
        rows = await self._shard(turn_id).xrange(log_key(workspace, turn_id), start, "+", count)
        return [(FrameId.parse(entry_id.decode()), fields[_FIELD]) for entry_id, fields in rows]

    async def tail(self, workspace: str, turn_id: str) -> FrameId:
        """The last frame's id; BEGINNING when there is no log."""
        rows = await self._shard(turn_id).xrevrange(log_key(workspace, turn_id), "+", "-", 1)
        return FrameId.parse(rows[0][0].decode()) if rows else BEGINNING

    async def append_terminal(self, workspace: str, turn_id: str, frame_id: FrameId, body: bytes) -> bool:
        """Ends a turn's stream, after its document was written. False: this frame, or a later attempt's, is there already.

        Unlike a writer's append it needs no unbroken log: a log that was flushed is still ended, and its readers see the gap.
        """
        name = str(frame_id).encode()
        arguments: list[str | bytes | int] = [self._keep_ms, name, body, frame_bytes(name, body)]
        return bool(
            await _APPEND_TERMINAL.run(self._shard(turn_id).execute_command, [log_key(workspace, turn_id)], arguments)
        )

    async def erase(self, workspace: str, turn_id: str) -> None:
        """For good: a worker that has not heard of it, or was paused, would write the log anew, as it does with one that was flushed."""
        await _ERASE.run(self._shard(turn_id).execute_command, [log_key(workspace, turn_id)], [ERASED_MS])

    async def ping(self) -> None:
        for shard in self._shards:
            await shard.ping()


def written_text(frames: Iterable[tuple[FrameId, bytes]]) -> str:
    """The text that the highest attempt among these frames has written."""
    attempt, parts = 0, list[str]()
    for frame_id, body in frames:
        if frame_id.attempt > attempt:
            attempt, parts = frame_id.attempt, []
        if event_of(body) == "delta":
            parts.append(data_of(body)["text"])
    return "".join(parts)


class TurnWriter:
    """One attempt's pen. Text put while a flush is under way becomes one frame of the next."""

    def __init__(self, shard: "_ShardWriter", workspace: str, turn_id: str, attempt: int) -> None:
        self.key = log_key(workspace, turn_id)
        self.attempt = attempt
        self.bodies: list[bytes] = []  # Kept until the end: a flushed log is written anew from here.
        self.sent = 0
        self.error: Exception | None = None
        self.idle = asyncio.Event()
        self.idle.set()
        self._text: list[str] = []
        self._shard = shard

    @property
    def last_seq(self) -> int:
        return len(self.bodies)

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
        body = frame_body(event, data)
        self.bodies.append(body)
        self._shard.mark(self, len(body))

    def cut(self) -> None:
        """The text put so far becomes a frame, or several: readers take frames whole, and slow ones shall not hold much."""
        if self._text:
            text = "".join(self._text)
            self._text.clear()
            for start in range(0, len(text), FRAME_TEXT):
                self.bodies.append(frame_body("delta", {"text": text[start : start + FRAME_TEXT]}))

    async def room(self) -> None:
        """Back-pressure: waits while this worker has too much unsent."""
        await self._shard.room.wait()
        if self.error is not None:
            raise self.error

    async def flush(self) -> None:
        """Everything put so far is in the log. Raises Fenced; waits for as long as the Redis is away."""
        await self.idle.wait()
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self._shard.forget(self)


class _ShardWriter:
    """One flush in flight on one Redis: deltas that arrive meanwhile join the next. No delay when idle, fewer operations under load."""

    def __init__(self, url: str, ttl_ms: int) -> None:
        self.room = asyncio.Event()
        self.room.set()
        self._wire = Wire(connection_pool(url))
        self._ttl_ms = ttl_ms
        self._dirty: dict[TurnWriter, int] = {}  # Unsent size of each turn that has something to send.
        self._unsent = 0
        self._kick = asyncio.Event()
        self._open: set[TurnWriter] = set()

    def open(self, workspace: str, turn_id: str, attempt: int) -> TurnWriter:
        turn = TurnWriter(self, workspace, turn_id, attempt)
        self._open.add(turn)
        return turn

    def mark(self, turn: TurnWriter, size: int) -> None:
        self._dirty[turn] = self._dirty.get(turn, 0) + size
        self._unsent += size
        if self._unsent >= MAX_UNSENT:
            self.room.clear()
        turn.idle.clear()
        self._kick.set()

    def forget(self, turn: TurnWriter) -> None:
        self._open.discard(turn)
        self._acknowledge(self._dirty.pop(turn, 0))

    def _acknowledge(self, size: int) -> None:
        self._unsent -= size
        if self._unsent < MAX_UNSENT:
            self.room.set()

    async def run(self) -> None:
        while True:
            await self._kick.wait()
            self._kick.clear()
            batch, self._dirty = self._dirty, {}
            for turn in batch:
                try:
                    turn.cut()
                except TypeError as error:  # Half a character: its turn fails. This task writes for all the others too.
                    log.error("text_unwritable", log=turn.key)
                    turn.error = error
            await self._send(list(batch))
            self._acknowledge(sum(batch.values()))
            for turn in batch:
                if turn not in self._dirty:
                    turn.idle.set()
            if len(self._open) > CROWD:
                await asyncio.sleep(CROWD_PAUSE_S)

    async def _send(self, turns: list[TurnWriter]) -> None:
        """Until every turn's frames are in its log, or the turn has failed. A turn's error is never another's."""
        while turns := [turn for turn in turns if turn.error is None and turn.sent < len(turn.bodies)]:
            try:
                await self._flush(turns)
            except (RedisError, OSError) as error:
                log.warning("run_log_unreachable", error=type(error).__name__)
                await asyncio.sleep(RECONNECT_PAUSE_S)

    async def _flush(self, turns: list[TurnWriter]) -> None:
        frames = [
            (turn, seq)
            for turn in turns
            for seq in range(turn.sent + 1, min(len(turn.bodies), turn.sent + FLUSH_FRAMES) + 1)
        ]
        for start in range(0, len(frames), FLUSH_FRAMES):
            await self._append(frames[start : start + FLUSH_FRAMES])

    async def _append(self, frames: list[tuple[TurnWriter, int]]) -> None:
        """One call for the frames of many turns: a call costs more than a frame does, here and in Redis."""
        arguments: list[str | bytes | int] = [self._ttl_ms]
        for turn, seq in frames:
            arguments += (turn.attempt, seq, turn.bodies[seq - 1])
        answers: list[Any] = await _APPEND.run(self._wire.call, [turn.key for turn, _ in frames], arguments)
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
                self._resend_from(turn, int(answer))
        if refusal is not None:
            # The Redis is read-only or full, or this log is none. Repeat.
            log.warning("run_log_refused", error=type(refusal).__name__)
            await asyncio.sleep(RECONNECT_PAUSE_S)

    def _resend_from(self, turn: TurnWriter, had: int) -> None:
        """The log's tail is not where this writer left it: lower after a flush or failover, equal after a lost answer."""
        if had > len(turn.bodies):
            # Nobody but history writes past a writer, and history writes only the end.
            turn.error = Fenced()
        else:
            turn.sent = min(had, len(turn.bodies))

    async def close(self) -> None:
        await self._wire.close()


class LogWriter:
    """The writers of one worker, one per stream Redis. `ttl_s` must exceed twice the turn deadline: it is renewed at each append."""

    def __init__(self, urls: Sequence[str], *, ttl_s: float) -> None:
        self._shards = [_ShardWriter(url, int(ttl_s * 1000)) for url in urls]
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(shard.run()) for shard in self._shards]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await end_tasks(self._tasks)
        for shard in self._shards:
            await shard.close()

    def open(self, workspace: str, turn_id: str, attempt: int) -> TurnWriter:
        return self._shards[shard_of(turn_id, len(self._shards))].open(workspace, turn_id, attempt)
