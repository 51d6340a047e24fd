"""Metrics that more than one service counts."""

from prometheus_client import Counter

REDACTIONS = Counter("parley_redactions_total", "Pieces of people's data that were taken out of texts", ["kind"])
REDACTION_HOOK = Counter(
    "parley_redaction_hook_total", "Requests to the server that redacts texts, by their outcome", ["outcome"]
)
FENCED_WRITES = Counter("parley_fenced_writes_total", "Writes refused because a later attempt owns the turn", ["where"])
LIMITS_HIT = Counter("parley_limits_hit_total", "Requests that a limit has refused", ["limit"])
