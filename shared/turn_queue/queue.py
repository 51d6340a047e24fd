"""The turn queue: arq with a lease. A producer that enqueues in one round trip, and a worker that starts jobs when they come,
holds them by short renewed leases and survives outages.

On Redis, under the queue's name: a sorted set of waiting jobs (score: not before, ms), one of running jobs (score: the lease's
end, ms), the holder of each lease, and the first score of each running job. So a poll sees only what can be claimed, and a dead
worker's jobs become claimable by themselves when their lease lapses. All clocks are Redis TIME. A finished turn goes into the
outbox stream by the same script that removes its job: the two can never disagree. A job's brief tells its first claim what history
would tell it; that claim takes it away, so that what was said is here only while the turn waits.
"""

import asyncio
import os
import socket
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import orjson
from arq.connections import ArqRedis
from arq.constants import job_key_prefix
from arq.jobs import deserialize_job_raw, serialize_job
from arq.utils import timestamp_ms
from arq.worker import Worker, func
from prometheus_client import Counter, Gauge
from redis.exceptions import NoScriptError, RedisError, ResponseError

from shared.broker.connections import Script, TimedCommands, Wire, Wires, connection_pool
from shared.contracts.jobs import RunTurn
from shared.contracts.turns import FinishedTurn
from shared.log import get_logger
from shared.tasks import end_tasks

if TYPE_CHECKING:
    from arq.typing import WorkerCoroutine

log = get_logger()

QUEUE = "parley:turns"
WAKE = f"{QUEUE}:wake"
OUTBOX = "turns.finished"
GROUP = "history"
RUN_TURN = "run_turn"
JobStatus = Literal["finished", "held", "alone"]

FALLBACK_POLL_S = 1
# Small, so that a burst is shared by all who wait for a token and not swallowed by the first.
CLAIM_BATCH = 4
START_S = 0.001
OUTAGE_PAUSE_S = 0.2
CONTROL_SILENCE_S = 6.0
LAST_WORDS_S = 5.0
STOP_TIMEOUT_S = 2.0

RUNNING = Gauge("parley_turns_running", "Turns that this worker runs")
LEASES_LOST = Counter("parley_leases_lost_total", "Turns whose lease this worker lost")

# Every script gets the same keys in the same order, so that one prelude names them all.
_KEYS = (
    QUEUE,
    *(f"{QUEUE}:{part}" for part in ("running", "leases", "enqueued_at", "finished", "wake", "snapshots")),
    OUTBOX,
)
_PRELUDE = """
local waiting, running, leases, enqueued_at, finished, wake, snapshots, outbox = unpack(KEYS)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function job_key(id) return 'JOB_KEY' .. id end
local function wake_one() redis.call('LPUSH', wake, '') redis.call('LTRIM', wake, 0, 999) end
local function forget(id)
  redis.call('ZREM', waiting, id) redis.call('ZREM', running, id)
  redis.call('HDEL', leases, id) redis.call('HDEL', enqueued_at, id) redis.call('HDEL', snapshots, id) redis.call('DEL', job_key(id))
end
""".replace("JOB_KEY", job_key_prefix)


def _script(body: str) -> Script:
    return Script.of(_PRELUDE + body)


# id, job, brief or '' → the number of jobs waiting before it
_ENQUEUE = _script("""
local id = ARGV[1]
if not redis.call('ZSCORE', running, id) and not redis.call('ZSCORE', waiting, id) and redis.call('HEXISTS', finished, id) == 0 then
  redis.call('SET', job_key(id), ARGV[2])
  if ARGV[3] ~= '' then redis.call('HSET', snapshots, id, ARGV[3]) end
  redis.call('ZADD', waiting, now, id)
  wake_one()
end
return redis.call('ZRANK', waiting, id) or 0
""")

# lease_ms, worker, first claim number, how many, lapsed ones too, wake-up tokens used for it → (id, job, claim id, brief or nil) each
_CLAIM = _script("""
local claimed, number = {}, tonumber(ARGV[3])
local function take(id)
  local job = redis.call('GET', job_key(id))
  if not job then return forget(id) end
  local claim = ARGV[2] .. ':' .. number
  number = number + 1
  redis.call('HSET', leases, id, claim)
  redis.call('ZADD', running, now + ARGV[1], id)
  claimed[#claimed + 1] = {id, job, claim, redis.call('HGET', snapshots, id)}
  redis.call('HDEL', snapshots, id)
end
if ARGV[5] == '1' then
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', running, '-inf', now, 'LIMIT', 0, ARGV[4])) do take(id) end
end
local room = ARGV[4] - #claimed
if room > 0 then
  local due = redis.call('ZRANGEBYSCORE', waiting, '-inf', now, 'WITHSCORES', 'LIMIT', 0, room)
  for i = 1, #due, 2 do
    redis.call('ZREM', waiting, due[i])
    redis.call('HSET', enqueued_at, due[i], due[i + 1])
    take(due[i])
  end
  for _ = ARGV[6] + 1, #due / 2 do redis.call('LPOP', wake) end  -- Each job came with one.
end
return claimed
""")

# lease_ms, then id and claim id each → the ids that this worker does not hold
_RENEW = _script("""
local lost = {}
for i = 2, #ARGV, 2 do
  if redis.call('HGET', leases, ARGV[i]) == ARGV[i + 1] then redis.call('ZADD', running, now + ARGV[1], ARGV[i])
  else lost[#lost + 1] = ARGV[i] end
end
return lost
""")

# lease_ms, id, claim id, job → 1 when the lease is ours again. Only a flush leaves a running job without any holder.
_RESTORE = _script("""
local id = ARGV[2]
local holder = redis.call('HGET', leases, id)
if holder and holder ~= ARGV[3] or redis.call('HEXISTS', finished, id) == 1 then return 0 end
redis.call('SET', job_key(id), ARGV[4])
redis.call('HSET', enqueued_at, id, redis.call('ZSCORE', waiting, id) or redis.call('HGET', enqueued_at, id) or now)
redis.call('ZREM', waiting, id)
redis.call('HSET', leases, id, ARGV[3])
redis.call('ZADD', running, now + ARGV[1], id)
return 1
""")

# id, claim id, workspace, finished turn → 0 when another worker holds the lease or the turn waits for one
_FINISH = _script("""
local id = ARGV[1]
if redis.call('HEXISTS', finished, id) == 1 then return 1 end
local holder = redis.call('HGET', leases, id)
if holder ~= ARGV[2] and (holder or redis.call('ZSCORE', waiting, id)) then return 0 end
redis.call('HSET', finished, id, redis.call('XADD', outbox, '*', 'turn', id, 'workspace', ARGV[3], 'body', ARGV[4]))
forget(id)
return 1
""")

# id, claim id, delay_ms → 1 when it was ours to hand back
_REQUEUE = _script("""
local id = ARGV[1]
if redis.call('HGET', leases, id) ~= ARGV[2] then return 0 end
local first = redis.call('HGET', enqueued_at, id) or now
redis.call('ZREM', running, id) redis.call('HDEL', leases, id) redis.call('HDEL', enqueued_at, id)
if ARGV[3] == '0' then redis.call('ZADD', waiting, first, id) wake_one() else redis.call('ZADD', waiting, now + ARGV[3], id) end
return 1
""")

_DROP = _script("if redis.call('HGET', leases, ARGV[1]) == ARGV[2] then forget(ARGV[1]) end return 1")
_FORGET = _script("forget(ARGV[1]) return 1")

# ids → those with neither a job nor an outbox entry
_MISSING = _script("""
local out = {}
for _, id in ipairs(ARGV) do
  if not redis.call('ZSCORE', running, id) and not redis.call('ZSCORE', waiting, id) and redis.call('HEXISTS', finished, id) == 0 then
    out[#out + 1] = id
  end
end
return out
""")

_STATUS = _script("""
if redis.call('HEXISTS', finished, ARGV[1]) == 1 then return 'finished' end
local ends = redis.call('ZSCORE', running, ARGV[1])
if ends and tonumber(ends) > now then return 'held' end
return 'alone'
""")

_HOLDER = _script("""
local ends = redis.call('ZSCORE', running, ARGV[1])
if ends and tonumber(ends) > now then return redis.call('HGET', leases, ARGV[1]) end
return false
""")

# group, entry id, turn id. The marker goes only with the entry that set it.
_ACKNOWLEDGE = _script("""
redis.call('XACK', outbox, ARGV[1], ARGV[2])
redis.call('XDEL', outbox, ARGV[2])
if redis.call('HGET', finished, ARGV[3]) == ARGV[2] then redis.call('HDEL', finished, ARGV[3]) end
return 1
""")

_BACKLOG = _script("""
local oldest = redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')
return {redis.call('ZCARD', waiting), oldest[2] and math.max(0, now - oldest[2]) or 0}
""")


def _dump(job: dict[str, Any]) -> bytes:
    return orjson.dumps(job)


class TurnQueue(TimedCommands, ArqRedis):  # type: ignore[misc]  # redis-py's own stubs disagree with each other.
    """arq's client, with enqueueing that is one atomic round trip and wakes a worker.

    Every method raises redis' RedisError or OSError while the queue Redis is away; every one may be repeated.
    """

    wires: Wires  # For scripts, which is what a turn's way consists of; whatever else redis-py and arq do goes through the pool.

    @classmethod
    def connect(cls, url: str) -> Self:
        """Opens nothing before the first command."""
        pool = connection_pool(url)
        queue = cls(pool, job_serializer=_dump, job_deserializer=orjson.loads, default_queue_name=QUEUE)
        queue.wires = Wires(pool)
        return queue

    async def run_script(self, script: Script, *arguments: str | bytes | int) -> Any:
        """One of this module's scripts, on the queue's keys."""
        return await script.run(self.wires.call, _KEYS, arguments)

    async def aclose(self, close_connection_pool: bool | None = True) -> None:
        """The pool is ours: close it too."""
        await self.wires.close()
        await super().aclose(close_connection_pool)

    async def enqueue(self, job: RunTurn, snapshot: str | None = None) -> int:
        """How many jobs wait before it. A turn that has a job, or whose result is in the outbox, is left as it is."""
        return int(await self.run_script(_ENQUEUE, job.turn_id, self._serialize(job), snapshot or ""))

    def _serialize(self, job: RunTurn) -> bytes:
        return serialize_job(RUN_TURN, tuple(job), {}, None, timestamp_ms(), serializer=self.job_serializer)

    async def position(self, turn_id: str) -> int | None:
        """How many jobs wait before it; None when it does not wait."""
        rank = await self.zrank(QUEUE, turn_id)
        return None if rank is None else int(rank)

    async def holder(self, turn_id: str) -> str | None:
        """The claim id that holds the turn's unexpired lease."""
        holder = await self.run_script(_HOLDER, turn_id)
        return holder.decode() if holder else None

    async def job_status(self, turn_id: str) -> JobStatus:
        """Whether a result waits in the outbox, a live lease is held, or neither.

        Whoever wants to end a turn in a worker's place asks this after it has read the document, never before: a worker may
        finish in between, and a result that is on its way must not be overruled.
        """
        job_status: JobStatus = (await self.run_script(_STATUS, turn_id)).decode()
        return job_status

    async def missing(self, turn_ids: Sequence[str]) -> list[str]:
        """Those of the turns that have neither a job nor a result in the outbox."""
        return [turn_id.decode() for turn_id in await self.run_script(_MISSING, *turn_ids)] if turn_ids else []

    async def acknowledge(self, entry_id: bytes, turn_id: str) -> None:
        """An outbox entry is dealt with: acknowledged and removed, with its marker."""
        await self.run_script(_ACKNOWLEDGE, GROUP, entry_id, turn_id)

    async def forget(self, turn_id: str) -> None:
        """Removes the job of a turn that has been ended without its worker."""
        await self.run_script(_FORGET, turn_id)

    async def signal_cancel(self, turn_id: str) -> None:
        """Tells whoever runs the turn that its cancellation was asked for. A lost ring is repeated by the sweep."""
        await self.publish(f"{QUEUE}:control", turn_id)

    async def backlog(self) -> tuple[int, float]:
        """Waiting jobs, and for how long the oldest has waited, in seconds."""
        count, age_ms = await self.run_script(_BACKLOG)
        return int(count), int(age_ms) / 1000


class LeasedJob:
    """A claimed turn. Whoever runs it settles it by exactly one of `finish`, `requeue` and `drop`. `snapshot`: as it was enqueued,
    and None for any claim but the first.

    When the lease is lost the running task is cancelled: then another worker has the turn, and nothing more may be written.
    """

    def __init__(
        self, queue: TurnQueue, job: RunTurn, claim_id: str, payload: bytes, snapshot: bytes | None = None
    ) -> None:
        self.job = job
        self.claim_id = claim_id
        self.payload = payload
        self.snapshot = snapshot
        self.cancelled = asyncio.Event()
        self.must_stop = asyncio.Event()
        self.acknowledged = False
        self._queue = queue

    async def finish(self, turn: FinishedTurn) -> bool:
        """Puts the result into the outbox and removes the job, at once. False: another worker has the turn by now.

        Waits for as long as Redis is away: the result exists nowhere else.
        """
        body = orjson.dumps(turn.wire())
        return bool(await self._acknowledge(_FINISH, self.job.workspace, body))

    async def requeue(self, delay_s: float = 0.0) -> None:
        """Another worker may have it: at once and in its old place, or after the delay."""
        await self._acknowledge(_REQUEUE, str(int(delay_s * 1000)))

    async def drop(self) -> None:
        """There is nothing to do for this turn."""
        await self._acknowledge(_DROP)

    async def _acknowledge(self, script: Script, *arguments: str | bytes) -> Any:
        while True:
            try:
                answer = await self._queue.run_script(script, self.job.turn_id, self.claim_id, *arguments)
            except (RedisError, OSError) as error:
                log.warning("settle_delayed", turn_id=self.job.turn_id, error=type(error).__name__)
                await asyncio.sleep(OUTAGE_PAUSE_S)
            else:
                self.acknowledged = True
                return answer


class LeasedWorker(Worker):
    """arq's worker, with its polling, starting and running of jobs replaced by leased ones. `run` must never raise."""

    def __init__(
        self,
        queue: TurnQueue,
        run: Callable[[LeasedJob], Awaitable[None]],
        *,
        max_turns: int,
        lease_s: float,
        drain_s: float,
        job_timeout_s: float,
    ) -> None:
        async def run_turn(_: dict[Any, Any]) -> None:
            """The name under which arq knows the job; `_run_leased` calls `run` itself."""

        super().__init__(
            [func(cast("WorkerCoroutine", run_turn), name=RUN_TURN)],
            queue_name=QUEUE,
            redis_pool=queue,
            max_jobs=max_turns,
            job_timeout=job_timeout_s,
            poll_delay=0,  # The waiting is in _poll_iteration.
            keep_result=0,
            max_tries=2**31,  # history alone judges tries.
            handle_signals=False,
            job_serializer=_dump,
            job_deserializer=orjson.loads,
        )
        self.name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._queue = queue
        self._wire = Wire(queue.connection_pool)  # For polls alone: a blocking one must not hold up anything else.
        self._wake_key = f"{WAKE}:{self.name}"  # Ends this worker's poll.
        self._run = run
        self._lease_ms = int(lease_s * 1000)
        self._heartbeat_s = lease_s / 4
        self._drain_s = drain_s
        self._claims: dict[str, LeasedJob] = {}
        self._claim_number = 0
        self._room = asyncio.Event()
        self._lapsed_from = 0.0
        self._more = False  # The last claim got all that it had room for: there may be more.

    # --- life

    async def serve(self, stop: asyncio.Event) -> None:
        """Runs turns until `stop`, then drains: what does not end within `drain_s` is handed back. Outages end nothing."""
        loops = [self._forever(loop) for loop in (self._poll, self._renew_leases, self._listen_for_signals)]
        tasks = [asyncio.create_task(loop) for loop in loops]
        try:
            await stop.wait()
            await self._stop_polling(tasks[0])
            await self._drain()
        finally:
            await end_tasks(tasks)
            await self._wire.close()

    async def _poll(self) -> None:
        # Not arq's `main`: it asks Redis about itself first, by a pipeline that nothing times.
        while self.allow_pick_jobs:
            await self._poll_iteration()

    async def _stop_polling(self, polls: asyncio.Task[None]) -> None:
        """To its end and not broken off: what a claim under way had brought would wait for its lease to lapse."""
        self.allow_pick_jobs = False
        self._room.set()
        bell = Wire(self._queue.connection_pool)
        with suppress(RedisError, OSError):
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await bell.calls(("LPUSH", self._wake_key, ""), ("EXPIRE", self._wake_key, 60))
                await asyncio.wait([polls])
        await bell.close()

    async def _drain(self) -> None:
        log.info("draining", running=len(self._claims), drain_s=self._drain_s)
        for patience_s in (self._drain_s, LAST_WORDS_S):
            if running := list(self.tasks.values()):
                await asyncio.wait(running, timeout=patience_s)
            for job in self._claims.values():
                job.must_stop.set()
        # Whatever still runs is cut off; its lease lapses, and another worker takes the turn over.
        for task in list(self.tasks.values()):
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)

    async def _forever(self, loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """A loop that an outage of Redis interrupts but does not end."""
        while True:
            try:
                return await loop()
            except (RedisError, OSError) as error:
                log.warning("queue_unreachable", loop=loop.__name__, error=type(error).__name__)
                # The others could not renew either: let them do so before their turns count as abandoned.
                self._lapsed_from = self.loop.time() + 2 * self._heartbeat_s
                self._more = True  # Tokens may have been lost.
                await asyncio.sleep(OUTAGE_PAUSE_S)

    async def _listen_for_signals(self) -> None:
        async with self._queue.pubsub(ignore_subscribe_messages=True) as channel:
            await channel.subscribe(f"{QUEUE}:control")
            heard_at = self.loop.time()
            while self.loop.time() - heard_at < CONTROL_SILENCE_S:
                message = await channel.get_message(timeout=CONTROL_SILENCE_S / 3)
                if message is None:
                    # Networks drop connections on which nothing passes, without a word: then no cancellation would ever come here.
                    await channel.ping()
                    continue
                heard_at = self.loop.time()
                if (job := self._claims.get(message["data"].decode())) is not None:
                    job.cancelled.set()
        raise ConnectionError("the control channel is silent")

    async def _renew_leases(self) -> None:
        while True:
            started = self.loop.time()
            await self._renew()
            await asyncio.sleep(max(0.05, self._heartbeat_s - (self.loop.time() - started)))

    async def _renew(self) -> None:
        held = dict(self._claims)
        if not held:
            return
        pairs = [text for turn_id, job in held.items() for text in (turn_id, job.claim_id)]
        for lost in await self._queue.run_script(_RENEW, self._lease_ms, *pairs):
            job = held[lost.decode()]
            if self._claims.get(job.job.turn_id) is job and not job.acknowledged:
                await self._restore(job)

    async def _restore(self, job: LeasedJob) -> None:
        turn_id = job.job.turn_id
        if await self._queue.run_script(_RESTORE, self._lease_ms, turn_id, job.claim_id, job.payload):
            log.warning("lease_restored", turn_id=turn_id)
        elif (
            (task := self.job_tasks.get(turn_id)) is not None
            and self._claims.get(turn_id) is job
            and not job.acknowledged
        ):
            LEASES_LOST.inc()
            log.warning("lease_lost", turn_id=turn_id)
            task.cancel()

    # --- arq's steps, replaced

    async def _poll_iteration(self) -> None:
        """Waits for room, then for a wake-up token or the fallback interval, and claims what there is room for.

        The claim is sent with the wait, and Redis makes it the moment that ends: a round trip less before a turn begins.
        A token is a hint. When the last claim got all that it asked for, there may be more: then nothing is waited for.
        """
        while self.job_counter >= self.max_jobs and self.allow_pick_jobs:
            self._room.clear()
            await self._room.wait()
        if not self.allow_pick_jobs:
            return
        wait = [] if self._more else [("BLPOP", WAKE, self._wake_key, FALLBACK_POLL_S)]
        room = min(CLAIM_BATCH, self.max_jobs - self.job_counter)
        lapsed = "1" if self.loop.time() >= self._lapsed_from else "0"
        number, self._claim_number = self._claim_number, self._claim_number + room
        arguments = (self._lease_ms, self.name, number, room, lapsed, len(wait))
        *waited, claimed = await self._wire.calls(*wait, _CLAIM.command(_KEYS, arguments))
        if isinstance(claimed, NoScriptError):
            claimed = await _CLAIM.run(self._wire.call, _KEYS, arguments)
        if isinstance(claimed, ResponseError):
            raise claimed
        for turn_id, payload, claim_id, snapshot in claimed:
            _, job, _, _, _ = deserialize_job_raw(payload, deserializer=self.job_deserializer)
            await self._take(
                turn_id.decode(), LeasedJob(self._queue, RunTurn(*job), claim_id.decode(), payload, snapshot)
            )
        if claimed:
            await asyncio.sleep(START_S)  # They ask their models first, and then the next ones are waited for.
        self._more = len(claimed) == room
        for answer in waited:
            if isinstance(answer, ResponseError):
                raise answer  # Only now: what was claimed all the same must not be left to its lease.

    async def _take(self, turn_id: str, job: LeasedJob) -> None:
        """Starts it, unless this worker has stopped meanwhile."""
        if self.allow_pick_jobs:
            self._start(turn_id, job)
        else:
            await job.requeue()

    def _start(self, turn_id: str, job: LeasedJob) -> None:
        self.job_counter += 1
        RUNNING.inc()
        # A turn that this worker lost may come back to it before it noticed: the older run must end, and may still wind up.
        if (older := self.job_tasks.get(turn_id)) is not None:
            older.cancel()
        self._claims[turn_id] = job
        task = self.loop.create_task(self._run_leased(job))
        self.tasks[job.claim_id] = self.job_tasks[turn_id] = task
        task.add_done_callback(lambda done: self._ended(job, done))

    async def _run_leased(self, job: LeasedJob) -> None:
        try:
            async with asyncio.timeout(self.job_timeout_s):
                await self._run(job)
        except TimeoutError:
            log.error("job_overran", turn_id=job.job.turn_id)
        except Exception:
            log.exception("job_failed", turn_id=job.job.turn_id)
        if not job.acknowledged:
            await job.requeue(1.0)

    def _ended(self, job: LeasedJob, task: asyncio.Task[None]) -> None:
        turn_id = job.job.turn_id
        del self.tasks[job.claim_id]
        if self._claims.get(turn_id) is job:
            del self._claims[turn_id]
            del self.job_tasks[turn_id]
        self.job_counter -= 1
        RUNNING.dec()
        self.jobs_complete += 1
        self._room.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("job_crashed", turn_id=turn_id, error=type(error).__name__)
