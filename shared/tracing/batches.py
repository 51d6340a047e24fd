"""Ended spans wait here for the thread that sends them. A collector that is away or hangs costs spans, nothing else."""

import threading
import time
from collections import deque
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from shared.log import get_logger
from shared.metrics import SPANS

log = get_logger()

# About 1 KiB each.
MAX_WAITING: Final = 8192
BATCH: Final = 512
EVERY_S: Final = 1.0
# A process that stops waits for so long for the collector.
LAST_S: Final = 2.0


class Batches(SpanProcessor):
    """One thread sends what has gathered, every second. When the queue is full, the newest span is dropped."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._waiting: deque[ReadableSpan] = deque()
        self._stopping = threading.Event()
        self._is_failing = False
        self._thread = threading.Thread(target=self._send_on, name="spans", daemon=True)
        self._thread.start()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        pass

    def on_end(self, span: ReadableSpan) -> None:
        if not span.context.trace_flags.sampled:
            return
        if len(self._waiting) >= MAX_WAITING or self._stopping.is_set():
            SPANS.labels("dropped").inc()
            return
        self._waiting.append(span)

    def shutdown(self) -> None:
        """Sends what waits, for at most LAST_S. The thread is a daemon, so that a hanging collector holds nothing."""
        self._stopping.set()
        ends_at = time.monotonic() + LAST_S
        self._thread.join(LAST_S)
        self._exporter.shutdown()
        self._thread.join(max(0.0, ends_at - time.monotonic()))

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True

    def _send_on(self) -> None:
        while not self._stopping.wait(EVERY_S):
            self._send_all()
        self._send_all()

    def _send_all(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            SPANS.labels("sent" if self._is_sent(batch) else "failed").inc(len(batch))

    def _is_sent(self, batch: list[ReadableSpan]) -> bool:
        try:
            is_sent = self._exporter.export(batch) is SpanExportResult.SUCCESS
        except Exception:
            log.exception("spans_not_encoded")
            return False
        if is_sent is self._is_failing:
            # Once per outage: a line per batch would fill the log.
            self._is_failing = not is_sent
            log.warning("collector_failing" if self._is_failing else "collector_answers_again")
        return is_sent
