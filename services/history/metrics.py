"""What history counts."""

from typing import Final

from prometheus_client import Counter, Histogram

TURNS_FINISHED: Final = Counter("parley_turns_finished_total", "Turns that ended, as stored", ["status"])
OUTBOX_LAG: Final = Histogram(
    "parley_outbox_lag_seconds",
    "From a worker's finish until the turn was stored and its end told",
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
TURNS_SWEPT: Final = Counter("parley_turns_swept_total", "Turns that the sweep did something about", ["action"])
TURNS_ADMITTED: Final = Counter("parley_turns_admitted_total", "Turns that were accepted")
_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
REQUEST_SECONDS: Final = Histogram(
    "parley_history_request_seconds",
    "From a call of a gateway or worker to history's answer",
    ["route"],
    buckets=_BUCKETS,
)
MONGODB_SECONDS: Final = Histogram(
    "parley_history_mongodb_seconds", "What of a call was spent waiting for MongoDB", ["route"], buckets=_BUCKETS
)
