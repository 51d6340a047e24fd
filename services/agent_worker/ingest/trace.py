"""The spans of an ingest worker: one for each job, below the request that asked for it; none for what nobody traces."""

from contextlib import AbstractContextManager

from shared.contracts.indexes import IndexJob
from shared.contracts.knowledge import IngestJob, IngestOutcome
from shared.tracing.spans import Span, Value, span_below
from shared.tracing.traceparent import valid


def source_span(job: IngestJob) -> AbstractContextManager[Span]:
    facts: dict[str, Value] = {
        "gen_ai.agent.id": job.agent_id,
        "parley.source.id": job.source_id,
        "parley.source.kind": job.kind,
        "parley.attempt": job.attempt,
    }
    return span_below(valid(job.traceparent), "ingest_source", "consumer", facts)


def tell_outcome(to: Span, outcome: IngestOutcome) -> None:
    """Without its reason, which may quote the document."""
    to.set({"parley.outcome": outcome.state, "parley.pages": outcome.pages, "parley.passages": outcome.passages})
    if outcome.state == "failed":
        to.failed("unreadable")


def index_span(job: IndexJob) -> AbstractContextManager[Span]:
    facts: dict[str, Value] = {
        "gen_ai.agent.id": job.agent_id,
        "gen_ai.agent.version": str(job.version),
        "parley.attempt": job.attempt,
    }
    return span_below(valid(job.traceparent), "build_index", "consumer", facts)
