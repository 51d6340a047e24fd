"""Metrics that more than one service counts."""

from prometheus_client import Counter, Gauge

REDACTIONS = Counter("parley_redactions_total", "Pieces of people's data that were taken out of texts", ["kind"])
REDACTION_HOOK = Counter(
    "parley_redaction_hook_total", "Requests to the server that redacts texts, by their outcome", ["outcome"]
)
FENCED_WRITES = Counter("parley_fenced_writes_total", "Writes refused because a later attempt owns the turn", ["where"])
STREAM_SHARDS = Gauge(
    "parley_stream_shards",
    "Stream Redises in this process's list: active, planned (their time has not come), draining (it is over)",
    ["state"],
)
LIMITS_HIT = Counter("parley_limits_hit_total", "Requests that a limit has refused", ["limit"])
SPANS = Counter(
    "parley_spans_total",
    "Spans of traces: sent, failed (the collector did not take them), dropped (too many wait)",
    ["outcome"],
)
for _outcome in ("sent", "failed", "dropped"):
    SPANS.labels(_outcome)
TRACE_HEADERS_REFUSED = Counter(
    "parley_trace_headers_refused_total", "Requests whose traceparent header was malformed and was ignored"
)
