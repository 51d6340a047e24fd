"""Takes sources from history's ingest queue and reads them under a renewed lease, a few at a time."""

import asyncio
from typing import Final

from prometheus_client import Gauge

from services.agent_worker.ingest.reader import LeaseLost, SourceReader
from shared.backoff import backoff, jittered
from shared.contracts.errors import ApiError
from shared.contracts.knowledge import IngestJob, IngestOutcome, IngestProgress
from shared.history_client import HistoryClient
from shared.log import get_logger
from shared.tasks import BackgroundLoops, end_tasks

log = get_logger()

READING: Final = Gauge("parley_sources_reading", "Knowledge sources that this worker reads")
IDLE_S: Final = 0.5
OUTAGE_S: Final = 1.0
STALE_S: Final = 30.0
FINISH_S: Final = 60.0


class IngestConsumer:
    """`concurrency` sources are read at once. What a worker does not finish, another one reads later."""

    def __init__(self, history: HistoryClient, reader: SourceReader, *, concurrency: int, lease_s: float) -> None:
        self.loops = BackgroundLoops()
        self._history = history
        self._reader = reader
        self._concurrency = concurrency
        self._lease_s = lease_s
        self._reading: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self.loops.start("ingest", self._claim_on(), stale_after_s=STALE_S)

    async def drain(self) -> None:
        """Takes no more, and gives back what is being read: the next worker begins it at once."""
        await self.loops.end()
        await end_tasks(self._reading)

    async def _claim_on(self) -> None:
        while True:
            if len(self._reading) >= self._concurrency:
                await asyncio.wait(self._reading, return_when=asyncio.FIRST_COMPLETED, timeout=IDLE_S)
                self.loops.succeeded("ingest")
                continue
            try:
                job = await self._history.claim_source(self._lease_s)
            except ApiError as error:
                log.warning("claim_delayed", error=str(error.code))
                await asyncio.sleep(jittered(OUTAGE_S))
                continue
            self.loops.succeeded("ingest")
            if job is None:
                await asyncio.sleep(jittered(IDLE_S))
            else:
                task = asyncio.create_task(self._run(job))
                self._reading.add(task)
                task.add_done_callback(self._reading.discard)

    async def _run(self, job: IngestJob) -> None:
        with READING.track_inprogress():
            reading = asyncio.create_task(self._reader.read(job))
            renewing = asyncio.create_task(self._renew(job, reading))
            try:
                outcome = await reading
            except asyncio.CancelledError:
                # A drain, unless the renewing task has cancelled the reading.
                if renewing.done():
                    return
                outcome = IngestOutcome(attempt=job.attempt, state="requeued", counts=False)
            except (LeaseLost, ApiError) as error:
                log.warning("reading_abandoned", source_id=job.source_id, error=type(error).__name__)
                return
            except Exception:
                log.exception("reading_failed", source_id=job.source_id)
                outcome = IngestOutcome(attempt=job.attempt, state="requeued", delay_s=OUTAGE_S)
            finally:
                await end_tasks([reading, renewing])
            await self._finish(job, outcome)

    async def _renew(self, job: IngestJob, reading: "asyncio.Task[IngestOutcome]") -> None:
        """Ends the reading when the lease is lost."""
        while True:
            await asyncio.sleep(self._lease_s / 3)
            try:
                progress = IngestProgress(attempt=job.attempt, lease_s=self._lease_s)
                if not await self._history.renew_source(job.source_id, progress):
                    log.warning("source_lease_lost", source_id=job.source_id)
                    reading.cancel()
                    return
            except ApiError as error:
                log.warning("renewal_delayed", source_id=job.source_id, error=str(error.code))

    async def _finish(self, job: IngestJob, outcome: IngestOutcome) -> None:
        """Waits for history for a minute; then the lease lapses, and another worker reads the source."""
        try:
            async with asyncio.timeout(FINISH_S if outcome.state != "requeued" else self._lease_s):
                for pause_s in backoff(0.1, 2.0):
                    try:
                        await self._history.finish_source(job.source_id, outcome)
                    except ApiError as error:
                        if not error.retryable:
                            log.warning("outcome_refused", source_id=job.source_id, error=str(error.code))
                            return
                        await asyncio.sleep(pause_s)
                    else:
                        return
        except TimeoutError:
            log.warning("outcome_lost", source_id=job.source_id)
