"""The jobs that a worker is running: one task each, by turn and by claim."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from prometheus_client import Gauge

from shared.log import get_logger
from shared.turn_queue.job import LeasedJob

log = get_logger()

RUNNING = Gauge("parley_turns_running", "Turns that this worker runs")
# How long jobs that were told to stop may take for their last writes.
FINAL_WRITES_S = 5.0

Run = Callable[[LeasedJob], Awaitable[None]]


class Runs:
    """At most `limit` jobs at once; the caller asks for `room` before it claims more."""

    def __init__(self, run: Run, *, limit: int, timeout_s: float) -> None:
        self.jobs: dict[str, LeasedJob] = {}  # By turn id: the latest claim of each.
        self._run = run
        self._limit = limit
        self._timeout_s = timeout_s
        self._tasks: dict[str, asyncio.Task[None]] = {}  # By claim id.
        self._count = 0
        self._has_room = asyncio.Event()

    @property
    def room(self) -> int:
        return self._limit - self._count

    async def wait_for_room(self, timeout_s: float) -> None:
        """Returns when a job has ended, when `wake` is called, or after the time-out."""
        self._has_room.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._has_room.wait()

    def wake(self) -> None:
        self._has_room.set()

    def start(self, job: LeasedJob) -> None:
        turn_id = job.job.turn_id
        # A turn that this worker lost can come back to it before it noticed the loss: the older run must end.
        self.cancel(turn_id)
        self._count += 1
        RUNNING.inc()
        self.jobs[turn_id] = job
        task = self._tasks[job.claim_id] = asyncio.create_task(self._run_to_end(job))
        task.add_done_callback(lambda done: self._ended(job, done))

    def cancel(self, turn_id: str) -> bool:
        """Cancels the turn's latest run. False: there is none."""
        job = self.jobs.get(turn_id)
        if job is None:
            return False
        self._tasks[job.claim_id].cancel()
        return True

    def is_current(self, job: LeasedJob) -> bool:
        """Whether the claim is the turn's latest here, and not acknowledged yet."""
        return self.jobs.get(job.job.turn_id) is job and not job.acknowledged

    async def drain(self, patience_s: float) -> None:
        """Waits for running jobs; then tells them to stop; then cancels those that still run. Their leases lapse."""
        for timeout_s in (patience_s, FINAL_WRITES_S):
            if running := list(self._tasks.values()):
                await asyncio.wait(running, timeout=timeout_s)
            for job in self.jobs.values():
                job.must_stop.set()
        running = list(self._tasks.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _run_to_end(self, job: LeasedJob) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._run(job)
        except TimeoutError:
            log.error("job_overran", turn_id=job.job.turn_id)
        except Exception:
            log.exception("job_failed", turn_id=job.job.turn_id)
        if not job.acknowledged:
            await job.requeue(1.0)

    def _ended(self, job: LeasedJob, task: "asyncio.Task[None]") -> None:
        del self._tasks[job.claim_id]
        if self.jobs.get(job.job.turn_id) is job:
            del self.jobs[job.job.turn_id]
        self._count -= 1
        RUNNING.dec()
        self.wake()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("job_crashed", turn_id=job.job.turn_id, error=type(error).__name__)
