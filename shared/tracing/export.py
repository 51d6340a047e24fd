"""OpenTelemetry's SDK behind `spans.py`, and the thread that sends spans by OTLP over HTTP (requirements-tracing).

Sampling, headers, resource and timeouts follow OpenTelemetry's own variables (`OTEL_TRACES_SAMPLER`,
`OTEL_EXPORTER_OTLP_HEADERS` and so on), which its SDK reads.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from shared.tracing.batches import Batches
from shared.tracing.spans import Kind, Span, Value
from shared.version import VERSION

TIMEOUT_S: Final = 5.0
_KINDS: Final[Mapping[Kind, SpanKind]] = {
    "internal": SpanKind.INTERNAL,
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "consumer": SpanKind.CONSUMER,
}
# Names of models and tools are the longest values.
_LIMITS: Final = SpanLimits(max_attributes=32, max_attribute_length=256, max_events=0, max_links=0)


class _OpenSpan:
    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self.is_failed = False

    def set(self, attributes: Mapping[str, Value]) -> None:
        self._span.set_attributes(attributes)

    def failed(self, kind: str) -> None:
        self.is_failed = True
        self._span.set_attribute("error.type", kind)
        self._span.set_status(Status(StatusCode.ERROR))


class OtlpTracing:
    """See `spans.Tracing`. `endpoint` None: OpenTelemetry's own variables name the collector."""

    def __init__(self, service: str, endpoint: str | None, exporter: SpanExporter | None = None) -> None:
        # The batches count and tell failures themselves. The exporter would log each one.
        logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
        self._batches = Batches(exporter or OTLPSpanExporter(endpoint=endpoint, timeout=TIMEOUT_S))
        # `Resource.create` lets OTEL_RESOURCE_ATTRIBUTES add to these, and OTEL_SERVICE_NAME name what was not named.
        resource = Resource.create({"service.name": f"parley-{service}", "service.version": VERSION})
        self._provider = TracerProvider(resource=resource, span_limits=_LIMITS, shutdown_on_exit=False)
        self._provider.add_span_processor(self._batches)
        self._tracer = self._provider.get_tracer("parley", VERSION)

    def span(self, name: str, kind: Kind, parent: str, attributes: Mapping[str, Value]) -> AbstractContextManager[Span]:
        return self._opened(name, kind, parent, attributes)

    @contextmanager
    def _opened(self, name: str, kind: Kind, parent: str, attributes: Mapping[str, Value]) -> Iterator[Span]:
        context = trace.set_span_in_context(_remote(parent)) if parent else None
        # The texts of exceptions may hold what people wrote, so only their types are recorded.
        with self._tracer.start_as_current_span(
            name,
            context,
            _KINDS[kind],
            attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as opened:
            span = _OpenSpan(opened)
            try:
                yield span
            except Exception as error:
                if opened.is_recording() and not span.is_failed:
                    span.failed(type(error).__name__)
                raise

    def traceparent(self) -> str:
        context = trace.get_current_span().get_span_context()
        if not context.is_valid:
            return ""
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & 1:02x}"

    def close(self) -> None:
        self._provider.shutdown()


def _remote(traceparent: str) -> NonRecordingSpan:
    _, trace_id, span_id, flags = traceparent.split("-")
    return NonRecordingSpan(
        SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
    )
