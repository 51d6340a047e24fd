"""Takes jobs from one of history's queues and works on them under renewed leases, a few at a time."""

import asyncio
from typing import Final, Generic, Protocol, TypeVar

from services.agent_worker.metrics import INGEST_SECONDS
from shared.backoff import backoff, jittered
from shared.contracts.errors import ApiError
from shared.log import get_logger
from shared.tasks import BackgroundLoops, end_tasks

log = get_logger()
J = TypeVar("J")
O = TypeVar("O")  # noqa: E741

# Renewals bring the progress along, which people watch.
RENEW_S: Final = 1.0
IDLE_S: Final = 0.5
OUTAGE_S: Final = 1.0
STALE_S: Final = 30.0
FINISH_S: Final = 60.0


class LeaseLost(Exception):
    """Another worker has the job, or it is not needed any more."""


class Desk(Protocol[J, O]):
    """One kind of work. All but `work` raise ApiError while history is away; what is raised twice is repeated."""

    name: str

    async def claim(self, lease_s: float) -> J | None:
        """None: nothing waits."""

    async def renew(self, job: J, lease_s: float) -> bool:
        """False: the lease is lost."""

    async def work(self, job: J) -> O:
        """Raises LeaseLost, ApiError. Any other exception is logged, and the job tried again."""

    async def finish(self, job: J, outcome: O) -> None:
        """May be repeated."""

    def requeued(self, job: J, delay_s: float, *, counts: bool) -> O:
        """The outcome with which the job goes back. `counts`: it was a try."""


class LeasedConsumer(Generic[J, O]):
    """`concurrency` jobs run at once. What a worker does not finish, another one begins again later."""

    def __init__(self, desk: Desk[J, O], *, concurrency: int, lease_s: float) -> None:
        self.loops = BackgroundLoops()
        self._desk = desk
        self._concurrency = concurrency
        self._lease_s = lease_s
        self._running: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self.loops.start(self._desk.name, self._claim_on(), stale_after_s=STALE_S)

    async def drain(self) -> None:
        """Takes no more, and gives back what is under way: the next worker begins it at once."""
        await self.loops.end()
        await end_tasks(self._running)

    async def _claim_on(self) -> None:
        while True:
            if len(self._running) >= self._concurrency:
                await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED, timeout=IDLE_S)
                self.loops.succeeded(self._desk.name)
                continue
            try:
                job = await self._desk.claim(self._lease_s)
            except ApiError as error:
                log.warning("claim_delayed", queue=self._desk.name, error=str(error.code))
                await asyncio.sleep(jittered(OUTAGE_S))
                continue
            self.loops.succeeded(self._desk.name)
            if job is None:
                await asyncio.sleep(jittered(IDLE_S))
            else:
                task = asyncio.create_task(self._run(job))
                self._running.add(task)
                task.add_done_callback(self._running.discard)

    async def _run(self, job: J) -> None:
        working = asyncio.create_task(self._desk.work(job))
        renewing = asyncio.create_task(self._renew(job, working))
        try:
            with INGEST_SECONDS.labels(self._desk.name).time():
                outcome = await working
        except asyncio.CancelledError:
            # A drain, unless the renewing task has cancelled the work.
            if renewing.done():
                return
            outcome = self._desk.requeued(job, 0.0, counts=False)
        except (LeaseLost, ApiError) as error:
            log.warning("job_abandoned", queue=self._desk.name, error=type(error).__name__)
            return
        except Exception:
            log.exception("job_failed", queue=self._desk.name)
            outcome = self._desk.requeued(job, OUTAGE_S, counts=True)
        finally:
            await end_tasks([working, renewing])
        await self._finish(job, outcome)

    async def _renew(self, job: J, working: "asyncio.Task[O]") -> None:
        """Ends the work when the lease is lost."""
        while True:
            await asyncio.sleep(min(RENEW_S, self._lease_s / 3))
            try:
                if not await self._desk.renew(job, self._lease_s):
                    log.warning("job_lease_lost", queue=self._desk.name)
                    working.cancel()
                    return
            except ApiError as error:
                log.warning("renewal_delayed", queue=self._desk.name, error=str(error.code))

    async def _finish(self, job: J, outcome: O) -> None:
        """Waits for history for a minute; then the lease lapses, and another worker has the job."""
        try:
            async with asyncio.timeout(FINISH_S):
                for pause_s in backoff(0.1, 2.0):
                    try:
                        await self._desk.finish(job, outcome)
                    except ApiError as error:
                        if not error.retryable:
                            log.warning("outcome_refused", queue=self._desk.name, error=str(error.code))
                            return
                        await asyncio.sleep(pause_s)
                    else:
                        return
        except TimeoutError:
            log.warning("outcome_lost", queue=self._desk.name)
