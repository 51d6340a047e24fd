"""Renews the leases of a worker's jobs, restores those that a flush removed, and ends runs whose lease is lost."""

from prometheus_client import Counter

from shared.log import get_logger
from shared.turn_queue import scripts
from shared.turn_queue.job import LeasedJob
from shared.turn_queue.queue import TurnQueue
from shared.turn_queue.runs import Runs

log = get_logger()

LEASES_LOST = Counter("parley_leases_lost_total", "Turns whose lease this worker lost")


class Leases:
    def __init__(self, queue: TurnQueue, runs: Runs, lease_ms: int) -> None:
        self._queue = queue
        self._runs = runs
        self._lease_ms = lease_ms

    async def renew(self) -> None:
        """Renews all leases in one round trip. Raises RedisError or OSError."""
        held = dict(self._runs.jobs)
        if not held:
            return
        pairs = [text for turn_id, job in held.items() for text in (turn_id, job.claim_id)]
        for lost in await self._queue.run_script(scripts.RENEW, self._lease_ms, *pairs):
            job = held[lost.decode()]
            if self._runs.is_current(job):
                await self._restore(job)

    async def _restore(self, job: LeasedJob) -> None:
        turn_id = job.job.turn_id
        if await self._queue.run_script(scripts.RESTORE, self._lease_ms, turn_id, job.claim_id, job.payload):
            log.warning("lease_restored", turn_id=turn_id)
        elif self._runs.is_current(job):
            LEASES_LOST.inc()
            log.warning("lease_lost", turn_id=turn_id)
            self._runs.cancel(turn_id)
