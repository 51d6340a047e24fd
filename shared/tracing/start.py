"""Whether a process traces, decided once from its settings."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from shared.settings import Settings
from shared.tracing import spans


@contextmanager
def tracing(service: str, settings: Settings) -> Iterator[None]:
    """Spans are made and sent while the block runs, if the settings name a collector.

    Ends the process with status 2 where they do, and the libraries that send spans are not installed.
    """
    endpoint = settings.traces_endpoint
    if endpoint is None:
        yield
        return
    try:
        # An extra (requirements-tracing): a process without a collector neither needs nor loads it.
        from shared.tracing.export import OtlpTracing
    except ModuleNotFoundError:
        sys.stderr.write("PARLEY_OTLP_URL and OTEL_EXPORTER_OTLP_ENDPOINT need requirements-tracing.lock installed.\n")
        sys.exit(2)
    made = OtlpTracing(service, endpoint or None)
    spans.use(made)
    try:
        yield
    finally:
        spans.use(None)
        made.close()
