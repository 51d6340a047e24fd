"""The queue of search indexes: each is built from its version's passages and stored for the workers of turns."""

from typing import Final

from prometheus_client import Gauge

from services.agent_worker.ingest.leased_consumer import LeasedConsumer
from services.agent_worker.ingest.trace import index_span
from services.agent_worker.knowledge.retriever import Retriever, VersionKey
from shared.contracts.indexes import IndexJob, IndexOutcome
from shared.history_client import HistoryClient

BUILDING: Final = Gauge("parley_indexes_building", "Search indexes that this worker builds")


class IndexDesk:
    name = "index_builds"

    def __init__(self, history: HistoryClient, retriever: Retriever) -> None:
        self._history = history
        self._retriever = retriever

    async def claim(self, lease_s: float) -> IndexJob | None:
        return await self._history.claim_index(lease_s)

    async def renew(self, job: IndexJob, lease_s: float) -> bool:
        return await self._history.renew_index(job, lease_s)

    async def work(self, job: IndexJob) -> IndexOutcome:
        """If a source is purged meanwhile, history refuses what is made here: the set has another key then."""
        with index_span(job), BUILDING.track_inprogress():
            passages = await self._history.passages(job.workspace, job.agent_id, job.version)
            version = VersionKey(job.workspace, job.agent_id, job.version, job.key)
            await self._retriever.publish(version, passages)
        return IndexOutcome(attempt=job.attempt, state="built")

    async def finish(self, job: IndexJob, outcome: IndexOutcome) -> None:
        await self._history.finish_index(job, outcome)

    def requeued(self, job: IndexJob, delay_s: float, *, counts: bool) -> IndexOutcome:
        return IndexOutcome(attempt=job.attempt, state="requeued", delay_s=delay_s, counts=counts)


def index_builds(
    history: HistoryClient, retriever: Retriever, *, lease_s: float
) -> LeasedConsumer[IndexJob, IndexOutcome]:
    """One at a time: a build takes a processor core."""
    return LeasedConsumer(IndexDesk(history, retriever), concurrency=1, lease_s=lease_s)
