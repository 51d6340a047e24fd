"""Latency and failures of the stores, by operation. Operations are few: kinds of calls and names of scripts."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Final

from prometheus_client import Counter, Histogram

STORE_SECONDS: Final = Histogram(
    "parley_store_seconds",
    "Time of calls of Redis and MongoDB by operation, without those that wait for news",
    ["store", "operation"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
STORE_FAILURES: Final = Counter(
    "parley_store_failures_total",
    "Calls of Redis and MongoDB that got no answer, by operation",
    ["store", "operation"],
)


@cache
def _series(store: str, operation: str) -> tuple[Histogram, Counter]:
    """Bounded as the labels are. `labels` would cost as much as all else here."""
    return STORE_SECONDS.labels(store, operation), STORE_FAILURES.labels(store, operation)


@contextmanager
def measured(store: str, operation: str, failures: tuple[type[BaseException], ...]) -> Iterator[None]:
    """Measures the block. An exception of `failures` counts as a failure, any other as an answer."""
    seconds, failed = _series(store, operation)
    started = time.perf_counter()
    try:
        yield
    except failures:
        failed.inc()
        raise
    except Exception:
        seconds.observe(time.perf_counter() - started)
        raise
    seconds.observe(time.perf_counter() - started)
