"""Which request a call to another process belongs to: its id and its place in the trace."""

from typing import Final

import structlog
from aiohttp import web

from shared.metrics import TRACE_HEADERS_REFUSED
from shared.tracing import spans
from shared.tracing.traceparent import HEADER, valid

X_REQUEST_ID: Final = "x-request-id"


def request_id() -> str | None:
    """The public request that is being served, or that asked for the turn that is run. None outside of both."""
    known = structlog.contextvars.get_contextvars()
    # In history `request_id` is the internal call's own.
    found: str | None = known.get("callers_request_id") or known.get("request_id")
    return found


def origin_headers() -> dict[str, str]:
    """What models, tools and hooks are told: `x-request-id` and, where traces are on, `traceparent`."""
    found = request_id()
    return ({} if found is None else {X_REQUEST_ID: found}) | spans.headers()


def given_traceparent(request: web.Request) -> str:
    """The caller's place in its trace; "" where it has none. A malformed header is counted and ignored."""
    header = request.headers.get(HEADER)
    if header is None:
        return ""
    found = valid(header)
    if not found:
        TRACE_HEADERS_REFUSED.inc()
    return found
