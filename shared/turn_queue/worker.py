"""The worker side of the turn queue: claims jobs as they come, runs them under renewed leases, and drains.

An outage of Redis ends no loop. A loop that ends for any other reason ends `serve`, so that the process ends and is
restarted.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Final

from redis.exceptions import NoScriptError, RedisError, ResponseError

from shared.backoff import jittered
from shared.broker.connections import PipelinedConnection
from shared.budgets.reservation import WAIT_S, must_wait, refused
from shared.contracts.jobs import UndecodableJob
from shared.ids import process_name
from shared.log import get_logger
from shared.tasks import BackgroundLoops, LoopEnded, supervise
from shared.turn_queue import scripts
from shared.turn_queue.control import ControlChannel
from shared.turn_queue.dead_letters import bury
from shared.turn_queue.job import LeasedJob
from shared.turn_queue.keys import KEYS, WAKE
from shared.turn_queue.leases import Leases
from shared.turn_queue.queue import TurnQueue, decode_job
from shared.turn_queue.runs import Run, Runs

log = get_logger()

FALLBACK_POLL_S = 1
# Small, so that several workers share a burst: a large batch would all go to the first that wakes up.
CLAIM_BATCH = 4
START_S = 0.001
OUTAGE_PAUSE_S = 0.2
STOP_TIMEOUT_S = 2.0
STALE_S: Final = 15.0


class LeasedWorker:
    """Runs at most `max_turns` jobs at once. `run` acknowledges its job; what it does not acknowledge is requeued."""

    def __init__(
        self,
        queue: TurnQueue,
        run: Run,
        *,
        max_turns: int,
        lease_s: float,
        drain_s: float,
        job_timeout_s: float,
    ) -> None:
        self.name = process_name()
        self.loops = BackgroundLoops()
        self._queue = queue
        self._connection = PipelinedConnection(queue.connection_pool)  # For polls: a blocking one delays nothing else.
        self._wake_key = f"{WAKE}:{self.name}"  # Ends this worker's poll.
        self._lease_ms = int(lease_s * 1000)
        self._heartbeat_s = lease_s / 4
        self.drain_s = drain_s
        self._runs = Runs(run, limit=max_turns, timeout_s=job_timeout_s)
        self._leases = Leases(queue, self._runs, self._lease_ms)
        self._control = ControlChannel(queue.url, self._runs, on_alive=lambda: self.loops.succeeded("control"))
        self._claim_number = 0
        self._takes_lapsed_from = 0.0
        self._more = False  # The last claim got all that it had room for: there may be more.
        self._accepts_jobs = True

    # --- life

    async def serve(self, stop: asyncio.Event) -> None:
        """Runs turns until `stop`, then drains: turns that do not end within `drain_s` are requeued.

        Raises LoopEnded when a loop ends by itself; running turns are requeued first.
        """
        polling = self._start_loop("poll", self._poll)
        self._start_loop("renew", self._renew)
        self.loops.start("control", self._control.run(), stale_after_s=STALE_S)
        try:
            await supervise(stop.wait(), self.loops)
            self.loops.expect_end()
            await self._stop_polling(polling)
            await self._drain(self.drain_s)
        except LoopEnded:
            self.loops.expect_end()
            await self._stop_polling(polling)
            await self._drain(0.0)
            raise
        finally:
            await self.loops.end()
            await self._connection.close()

    def _start_loop(self, name: str, loop: Callable[[], Coroutine[Any, Any, None]]) -> "asyncio.Task[None]":
        return self.loops.start(name, self._through_outages(name, loop), stale_after_s=STALE_S)

    async def _through_outages(self, name: str, loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Restarts the loop after an outage of Redis."""
        while True:
            try:
                return await loop()
            except (RedisError, OSError) as error:
                log.warning("queue_unreachable", loop=name, error=type(error).__name__)
                # The other workers could not renew their leases either. They get time to do so before their turns count
                # as lapsed.
                self._takes_lapsed_from = _now() + 2 * self._heartbeat_s
                self._more = True  # Wake-up tokens may have been lost.
                await asyncio.sleep(OUTAGE_PAUSE_S)

    async def _stop_polling(self, polling: "asyncio.Task[None]") -> None:
        """Lets the poll end instead of cancelling it: jobs of a pending claim would wait for their leases to lapse."""
        self._accepts_jobs = False
        self._runs.wake()
        connection = PipelinedConnection(self._queue.connection_pool)
        with suppress(RedisError, OSError):
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await connection.calls(("LPUSH", self._wake_key, ""), ("EXPIRE", self._wake_key, 60))
                await asyncio.wait([polling])
        await connection.close()

    async def _drain(self, drain_s: float) -> None:
        log.info("draining", running=len(self._runs.jobs), drain_s=drain_s)
        await self._runs.drain(drain_s)

    # --- loops

    async def _renew(self) -> None:
        while True:
            started = _now()
            await self._leases.renew()
            self.loops.succeeded("renew")
            await asyncio.sleep(max(0.05, self._heartbeat_s - (_now() - started)))

    async def _poll(self) -> None:
        while self._accepts_jobs:
            await self._poll_once()
            self.loops.succeeded("poll")

    async def _poll_once(self) -> None:
        """Waits for room, then for a wake-up token or the fallback interval, and claims jobs up to its room.

        `BLPOP` and the claim script are pipelined, so a job starts one round trip earlier. A token is only a hint. When
        the last claim got all that it asked for, there may be more jobs: then the claim is sent without a wait.
        """
        if self._runs.room <= 0:
            return await self._runs.wait_for_room(FALLBACK_POLL_S)
        wait = [] if self._more else [("BLPOP", WAKE, self._wake_key, FALLBACK_POLL_S)]
        room = min(CLAIM_BATCH, self._runs.room)
        lapsed = "1" if _now() >= self._takes_lapsed_from else "0"
        number, self._claim_number = self._claim_number, self._claim_number + room
        arguments = (self._lease_ms, self.name, number, room, lapsed, len(wait))
        *waited, claimed = await self._connection.calls(*wait, scripts.CLAIM.command(KEYS, arguments))
        if isinstance(claimed, NoScriptError):
            claimed = await scripts.CLAIM.run(self._connection.call, KEYS, arguments)
        if isinstance(claimed, ResponseError):
            raise claimed
        await self._start(claimed)
        self._more = len(claimed) == room
        for answer in waited:
            if isinstance(answer, ResponseError):
                raise answer  # Raised last: the claim was made all the same, and its jobs must run.
        return None

    async def _start(self, claimed: Sequence[tuple[bytes, bytes, bytes, bytes | None, bytes | None]]) -> None:
        """Starts the claimed jobs, or requeues them when this worker has stopped accepting jobs meanwhile."""
        undecodable: list[tuple[str, str, bytes, UndecodableJob]] = []
        for raw_id, payload, raw_claim, snapshot, budget in claimed:
            turn_id, claim_id = raw_id.decode(), raw_claim.decode()
            try:
                order = decode_job(payload)
                if order.turn_id != turn_id:
                    raise UndecodableJob("the job names another turn")
            except UndecodableJob as error:
                undecodable.append((turn_id, claim_id, payload, error))
                continue
            job = LeasedJob(self._queue, order, claim_id, payload, snapshot, refused(budget))
            if must_wait(budget):
                await job.requeue(jittered(WAIT_S))
            elif self._accepts_jobs:
                self._runs.start(job)
            else:
                await job.requeue()
        # Last, so that an outage here delays no good job. Until it succeeds, the bad job comes back when its lease
        # lapses.
        for letter in undecodable:
            await bury(self._queue, *letter)
        if claimed:
            await asyncio.sleep(START_S)  # The jobs send their model calls before the next poll goes out.


def _now() -> float:
    return asyncio.get_running_loop().time()
