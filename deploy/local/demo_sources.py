"""The demo agent's documents as sources of its draft, which the console lists like anybody's.

The launcher reads them itself, before an ingest worker runs: the demo agent is published a moment later, and its
passages are the same at every start.
"""

import asyncio
import time
from typing import Final

from deploy.demo.agent import AGENT_ID, WORKSPACE, DemoDocument, demo_documents
from shared.contracts.knowledge import IngestOutcome
from shared.history_client import HistoryClient

# A start that was killed leaves a source claimed for so long.
LEASE_S: Final = 3.0
READ_WITHIN_S: Final = 8.0
LOOK_S: Final = 0.1
WAITING: Final = frozenset({"pending", "processing"})


async def add_demo_sources(history: HistoryClient) -> None:
    """Adds what is missing, and returns when all of it is read. May be repeated; raises ApiError.

    A source that somebody has deleted stays deleted. After `READ_WITHIN_S` the rest is left to the ingest workers:
    history publishes the agent when they have read it.
    """
    until = time.monotonic() + READ_WITHIN_S
    while unread := await _unread(history):
        await asyncio.gather(*(_read_one(history, unread) for _ in list(unread)))
        if not unread or time.monotonic() > until:
            return
        await asyncio.sleep(LOOK_S)


async def _unread(history: HistoryClient) -> dict[str, DemoDocument]:
    """Those that wait to be read, by the ids of their sources."""
    documents = demo_documents()
    sources = await asyncio.gather(
        *(history.create_source(WORKSPACE, AGENT_ID, document.order) for document in documents)
    )
    found = zip(sources, documents, strict=True)
    return {source.id: document for source, document in found if source.state in WAITING}


async def _read_one(history: HistoryClient, unread: dict[str, DemoDocument]) -> None:
    """Whichever waits longest, if any does. A source of somebody else goes back to wait for an ingest worker."""
    job = await history.claim_source(LEASE_S)
    if job is None:
        return
    document = unread.pop(job.source_id, None)
    if document is None:
        outcome = IngestOutcome(attempt=job.attempt, state="requeued", delay_s=1.0, counts=False)
    else:
        passages = document.passages
        await history.add_passages(job.source_id, job.attempt, 0, passages)
        outcome = IngestOutcome(attempt=job.attempt, state="indexed", pages=1, passages=len(passages))
    await history.finish_source(job.source_id, outcome)
