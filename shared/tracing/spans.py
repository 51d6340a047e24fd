"""Spans. Without an exporter each call costs a comparison: no OpenTelemetry is loaded and nothing is made.

Attributes are names, numbers and ids. Prompts, answers, tool output and keys never become part of a span.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final, Literal, Protocol

from shared.tracing.traceparent import HEADER, trace_id_of

Value = str | int | float | bool | list[str]
Kind = Literal["internal", "server", "client", "consumer"]


class Span(Protocol):
    """Open while its block runs. An exception that leaves the block marks it as failed, by the exception's type."""

    def set(self, attributes: Mapping[str, Value]) -> None: ...

    def failed(self, kind: str) -> None:
        """Marks it as failed. `kind`: a short name of the fault."""


class Tracing(Protocol):
    """What makes spans and sends them."""

    def span(
        self, name: str, kind: Kind, parent: str, attributes: Mapping[str, Value]
    ) -> AbstractContextManager[Span]: ...

    def traceparent(self) -> str:
        """Of the open span; "" outside of spans."""

    def close(self) -> None:
        """Sends what is left, for a bounded time."""


class _NoSpan:
    def set(self, attributes: Mapping[str, Value]) -> None:
        pass

    def failed(self, kind: str) -> None:
        pass

    def __enter__(self) -> Span:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


_NO_SPAN: Final = _NoSpan()
_NO_ATTRIBUTES: Final[Mapping[str, Value]] = {}
_tracing: Tracing | None = None


def use(tracing: Tracing | None) -> None:
    """Spans are made by `tracing` from now on; None: by nobody. Called once per process, before it serves."""
    global _tracing  # noqa: PLW0603 - as with metrics and logs, a process has one.
    _tracing = tracing


def is_on() -> bool:
    return _tracing is not None


def span(
    name: str, kind: Kind = "internal", *, parent: str = "", attributes: Mapping[str, Value] = _NO_ATTRIBUTES
) -> AbstractContextManager[Span]:
    """A span below the open one, or below `parent`, a valid `traceparent`. Names have few values: never an id."""
    return _NO_SPAN if _tracing is None else _tracing.span(name, kind, parent, attributes)


def span_below(
    parent: str, name: str, kind: Kind = "internal", attributes: Mapping[str, Value] = _NO_ATTRIBUTES
) -> AbstractContextManager[Span]:
    """A span below `parent`, or none where that is "": what nobody traces begins no trace."""
    return _NO_SPAN if _tracing is None or not parent else _tracing.span(name, kind, parent, attributes)


def step(name: str, attributes: Mapping[str, Value] = _NO_ATTRIBUTES) -> AbstractContextManager[Span]:
    """A span below the open one, or none outside of spans."""
    return span_below(traceparent(), name, attributes=attributes)


def traceparent() -> str:
    """The open span, for a job, a document or another process; "" outside of spans."""
    return "" if _tracing is None else _tracing.traceparent()


def trace_id() -> str | None:
    return None if _tracing is None else trace_id_of(_tracing.traceparent())


def headers() -> dict[str, str]:
    """What a request to another process carries."""
    return {HEADER: found} if (found := traceparent()) else {}
