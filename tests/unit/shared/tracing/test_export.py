"""What is made of spans, and what a collector that hangs or refuses costs: spans, and nothing else."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from shared.metrics import SPANS
from shared.tracing import batches, spans
from shared.tracing.export import OtlpTracing

ROOT = Path(__file__).resolve().parents[4]
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UNSAMPLED = PARENT[:-1] + "0"


class FakeCollector(SpanExporter):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []
        self.answers = threading.Event()
        self.answers.set()
        self.result = SpanExportResult.SUCCESS

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.answers.wait()
        self.spans += spans
        return self.result

    def shutdown(self) -> None:
        self.answers.set()


@pytest.fixture
def collector() -> FakeCollector:
    return FakeCollector()


@pytest.fixture
def tracing(collector: FakeCollector, monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpTracing]:
    monkeypatch.setattr(batches, "MAX_WAITING", 3)
    monkeypatch.setattr(batches, "EVERY_S", 0.01)
    monkeypatch.setattr(batches, "LAST_S", 0.3)
    made = OtlpTracing("test", None, collector)
    spans.use(made)
    yield made
    spans.use(None)
    made.close()


def counted(outcome: str) -> float:
    return float(SPANS.labels(outcome)._value.get())


def until(*, outcome: str, above: float) -> None:
    deadline = time.monotonic() + 10
    while counted(outcome) <= above:
        assert time.monotonic() < deadline, outcome
        time.sleep(0.005)


def test_a_span_is_below_the_open_one_and_is_sent(tracing: OtlpTracing, collector: FakeCollector) -> None:
    before = counted("sent")
    with spans.span("outer", "server", parent=PARENT):
        assert spans.trace_id() == PARENT[3:35]
        with spans.span("inner", attributes={"n": 1}):
            header = spans.headers()["traceparent"]
    until(outcome="sent", above=before + 1)
    inner, outer = collector.spans
    assert inner.parent is not None
    assert inner.parent.span_id == outer.context.span_id
    assert header == f"00-{PARENT[3:35]}-{inner.context.span_id:016x}-01"
    assert spans.traceparent() == ""


def test_a_failed_span_has_the_type_of_its_exception_and_not_the_text(
    tracing: OtlpTracing, collector: FakeCollector
) -> None:
    before = counted("sent")
    with pytest.raises(ValueError, match="private"), spans.span("broken"):
        raise ValueError("private words")
    until(outcome="sent", above=before)
    (span,) = collector.spans
    assert dict(span.attributes or {}) == {"error.type": "ValueError"}
    assert "private" not in span.to_json()


def test_a_trace_that_its_caller_did_not_sample_is_passed_on_and_not_sent(
    tracing: OtlpTracing, collector: FakeCollector
) -> None:
    with spans.span("quiet", parent=UNSAMPLED):
        assert spans.traceparent().startswith(PARENT[:36])
        assert spans.traceparent().endswith("-00")
    tracing.close()
    assert collector.spans == []


def test_a_collector_that_hangs_costs_spans_and_no_time(tracing: OtlpTracing, collector: FakeCollector) -> None:
    collector.answers.clear()
    before = counted("dropped")
    for _ in range(20):
        with spans.span("one of many"):
            pass
    # One may be in the hands of the collector, three wait.
    assert counted("dropped") >= before + 20 - 2 * batches.MAX_WAITING - 1
    tracing.close()


def test_a_collector_that_refuses_is_counted_and_told_once(
    tracing: OtlpTracing, collector: FakeCollector, capsys: pytest.CaptureFixture[str]
) -> None:
    collector.result = SpanExportResult.FAILURE
    for _ in range(3):
        before = counted("failed")
        with spans.span("unwanted"):
            pass
        until(outcome="failed", above=before)
    tracing.close()
    assert capsys.readouterr().out.count("collector_failing") == 1


def test_without_tracing_a_span_is_nothing() -> None:
    with spans.span("none", parent=PARENT) as span:
        span.set({"a": 1})
        span.failed("never")
        assert (spans.traceparent(), spans.trace_id(), spans.headers()) == ("", None, {})


def test_processes_without_a_collector_do_not_load_opentelemetry() -> None:
    modules = ", ".join(f"services.{service}.__main__" for service in ("gateway", "history", "agent_worker"))
    code = f"import sys, {modules}\nsys.exit(any(name.startswith('opentelemetry.sdk') for name in sys.modules))"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
