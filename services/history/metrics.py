"""The metrics of history."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from shared.contracts.turns import ENDED

TURNS_FINISHED: Final = Counter("parley_turns_finished_total", "Turns that ended, by stored status", ["status"])
for _status in ENDED:
    # A rate needs the series to exist before the first turn ends.
    TURNS_FINISHED.labels(_status)
TURNS_FAILED: Final = Counter("parley_turns_failed_total", "Turns that ended as failed, by error code", ["code"])
AGENT_TOKENS: Final = Counter(
    "parley_agent_tokens_total",
    "Tokens of ended turns by agent and model, without those of checks; `other`: beyond the first agents and models",
    ["agent", "model", "kind"],
)
AGENT_COST: Final = Counter(
    "parley_agent_cost_total",
    "Cost of ended turns by agent and model in the price table's currency, where the price is known",
    ["agent", "model"],
)
STORE_ERRORS: Final = Counter(
    "parley_store_errors_total", "Calls that failed because a store did not answer", ["store"]
)
OUTBOX_LAG: Final = Histogram(
    "parley_outbox_lag_seconds",
    "Time from a worker's finish until the turn is stored and its end is published",
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
OUTBOX_PARKED: Final = Counter(
    "parley_outbox_parked_total", "Outbox entries that can never be stored; their turns ended as failed", ["reason"]
)
TURNS_RECONCILED: Final = Counter("parley_turns_reconciled_total", "Turns that the reconciler repaired", ["action"])
KNOWLEDGE_GAPS: Final = Counter(
    "parley_knowledge_gaps_total", "Turns that their agents' knowledge did not answer", ["reason"]
)
CHECKS_ENDED: Final = Counter("parley_checks_ended_total", "Checks of agents that ended", ["state"])
SOURCES_READ: Final = Counter(
    "parley_sources_read_total", "Readings of knowledge sources that ended, by their outcome", ["outcome"]
)
INGEST_WAITING: Final = Gauge(
    "parley_ingest_waiting",
    "Knowledge sources and search indexes that wait for an ingest worker, up to 1000 of each queue",
    ["queue"],
)
INGEST_OLDEST: Final = Gauge(
    "parley_ingest_oldest_seconds",
    "How long the one that waits longest has waited for an ingest worker: grow the ingest workers by this",
    ["queue"],
)
END_USERS_ERASED: Final = Counter("parley_end_users_erased_total", "Erasures of end users that were completed")
RETENTION_ERASED: Final = Counter(
    "parley_retention_erased_total",
    "Sessions and stored completions that were erased when their time was over",
    ["kind"],
)
RUN_LOGS_BACK: Final = Counter(
    "parley_erased_run_logs_back_total",
    "Run logs that were in Redis again a minute after their erasure, as after a fail-over, and were erased again",
)
INDEX_BUILDS: Final = Counter(
    "parley_index_builds_total",
    "Search indexes of versions, by outcome; `late`: a version was published without waiting for its index any longer",
    ["outcome"],
)
VECTOR_SEARCHES_REFUSED: Final = Counter(
    "parley_vector_searches_refused_total", "Calls for vectors that failed because MongoDB cannot search vectors"
)
BUDGET_REFUSALS: Final = Counter("parley_budget_refusals_total", "Turns refused at admission, by a used-up budget")
BUDGET_COUNTERS_REBUILT: Final = Counter(
    "parley_budget_counters_rebuilt_total", "Counters of budgets that were rebuilt from the ledger"
)
TURNS_ADMITTED: Final = Counter("parley_turns_admitted_total", "Turns that were accepted")
TURNS_INDEXED: Final = Counter(
    "parley_turns_indexed_total", "Turns of earlier releases whose words were stored, so that the search finds them"
)
BACKFILLED: Final = Counter(
    "parley_documents_backfilled_total",
    "Documents of earlier releases that got what this release writes into new ones",
    ["backfill"],
)
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
REQUEST_SECONDS: Final = Histogram(
    "parley_history_request_seconds",
    "Time that history takes to answer a call of a gateway or worker",
    ["route"],
    buckets=_BUCKETS,
)
MONGODB_SECONDS: Final = Histogram(
    "parley_history_mongodb_seconds", "Time that a call waits for MongoDB", ["route"], buckets=_BUCKETS
)
WEBHOOK_EVENTS: Final = Counter("parley_webhook_events_total", "Events for which deliveries were made", ["type"])
WEBHOOK_ATTEMPTS: Final = Counter(
    "parley_webhook_attempts_total", "Deliveries that were tried: delivered, failed (tried again), dead", ["outcome"]
)
for _outcome in ("delivered", "failed", "dead"):
    WEBHOOK_ATTEMPTS.labels(_outcome)
WEBHOOK_ATTEMPT_SECONDS: Final = Histogram(
    "parley_webhook_attempt_seconds",
    "Time that a webhook's receiver took to answer",
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30),
)
WEBHOOK_OLDEST: Final = Gauge("parley_webhook_oldest_due_seconds", "Age of the oldest delivery that is due")
WEBHOOKS_DISABLED: Final = Counter("parley_webhooks_disabled_total", "Endpoints disabled because they failed too long")
