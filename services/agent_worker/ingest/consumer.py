"""The queue of sources: each is claimed, read and reported under a lease."""

from typing import Final

from prometheus_client import Gauge

from services.agent_worker.ingest.leased_consumer import LeasedConsumer
from services.agent_worker.ingest.reader import SourceReader
from shared.contracts.knowledge import IngestJob, IngestOutcome, IngestProgress
from shared.history_client import HistoryClient

READING: Final = Gauge("parley_sources_reading", "Knowledge sources that this worker reads")


class SourceDesk:
    name = "ingest"

    def __init__(self, history: HistoryClient, reader: SourceReader) -> None:
        self._history = history
        self._reader = reader

    async def claim(self, lease_s: float) -> IngestJob | None:
        return await self._history.claim_source(lease_s)

    async def renew(self, job: IngestJob, lease_s: float) -> bool:
        pages, passages = self._reader.progress(job)
        progress = IngestProgress(attempt=job.attempt, lease_s=lease_s, pages=pages, passages=passages)
        return await self._history.renew_source(job.source_id, progress)

    async def work(self, job: IngestJob) -> IngestOutcome:
        with READING.track_inprogress():
            return await self._reader.read(job)

    async def finish(self, job: IngestJob, outcome: IngestOutcome) -> None:
        await self._history.finish_source(job.source_id, outcome)

    def requeued(self, job: IngestJob, delay_s: float, *, counts: bool) -> IngestOutcome:
        return IngestOutcome(attempt=job.attempt, state="requeued", delay_s=delay_s, counts=counts)


class IngestConsumer(LeasedConsumer[IngestJob, IngestOutcome]):
    """`concurrency` sources are read at once."""

    def __init__(self, history: HistoryClient, reader: SourceReader, *, concurrency: int, lease_s: float) -> None:
        super().__init__(SourceDesk(history, reader), concurrency=concurrency, lease_s=lease_s)
