"""How late a process's event loop runs what is due: a loop that is busy or blocked delays every stream and lease."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from prometheus_client import Histogram

INTERVAL_S: Final = 0.5
LAG_SECONDS: Final = Histogram(
    "parley_event_loop_lag_seconds",
    "How late the event loop ran a timer, measured twice a second",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)


@contextmanager
def measured_lag(interval_s: float = INTERVAL_S) -> Iterator[None]:
    """Measures while the block runs. A timer and no task: it cannot end by itself, and nothing waits for its end."""
    timer = _Timer(interval_s)
    try:
        yield
    finally:
        timer.handle.cancel()


class _Timer:
    def __init__(self, interval_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._interval_s = interval_s
        self._wind()

    def _wind(self) -> None:
        self._due = self._loop.time() + self._interval_s
        self.handle = self._loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        LAG_SECONDS.observe(max(0.0, self._loop.time() - self._due))
        self._wind()
