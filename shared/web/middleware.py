"""The outermost middleware of every server: request id, summary line, and exceptions turned into answers."""

import asyncio
import hmac
import logging
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from aiohttp import web

from shared.contracts.errors import ApiError, Code
from shared.ids import is_id, new_id
from shared.log import get_logger
from shared.tracing import spans
from shared.web.origin import given_traceparent
from shared.web.problems import api_error_of, problem_response

log = get_logger()
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

REQUEST_ID: Final = web.RequestKey("request_id", str)
# By the monotonic clock, in seconds.
STARTED: Final = web.RequestKey("started", float)
# The request that a gateway serves, in its calls to history.
CALLERS_REQUEST_ID: Final = "X-Callers-Request-Id"
# Whether a server begins a trace for a request that brings none.
BEGINS_TRACES: Final = web.AppKey("begins_traces", bool)
# What a person is shown in place of the problem document of a path that does not exist. None: the problem document.
NotFoundPage = Callable[[web.Request], web.Response | None]
NOT_FOUND_PAGE: Final[web.AppKey[NotFoundPage]] = web.AppKey("not_found_page")
UNTRACED: Final = frozenset({"/healthz", "/readyz", "/metrics"})
# A client may make up a method, and names of spans have few values.
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_CLIENT_ID = re.compile(r"[\x21-\x7e]{1,200}")


@web.middleware
async def request_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Gives the request its id, logs one summary line, and turns every exception into an answer."""
    request_id = new_id("req")
    request[REQUEST_ID] = request_id
    structlog.contextvars.bind_contextvars(request_id=request_id)
    request[STARTED] = time.monotonic()
    try:
        response = await (_traced(request, handler) if spans.is_on() else _answered(request, handler))
    finally:
        structlog.contextvars.unbind_contextvars("request_id")
    if not response.prepared:
        response.headers["x-request-id"] = request_id
    return response


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        response = await handler(request)
        if not response.prepared:
            _refuse_second_response(request)
    except (asyncio.CancelledError, ConnectionResetError):
        raise
    except Exception as error:
        response = _failed(request, error)
    if log.is_enabled_for(logging.DEBUG):
        _log_summary(request, response)
    return response


async def _traced(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The public server begins a trace where the caller has none. Internal calls without one are polls and checks."""
    parent = given_traceparent(request)
    route = route_name(request)
    if not (parent or request.app.get(BEGINS_TRACES, False)) or route in UNTRACED:
        return await _answered(request, handler)
    method = request.method if request.method in METHODS else "_OTHER"
    facts: dict[str, spans.Value] = {
        "http.request.method": method,
        "http.route": route,
        "parley.request.id": request[REQUEST_ID],
    }
    with spans.span(f"{method} {route}", "server", parent=parent, attributes=facts) as span:
        response = await _answered(request, handler)
        span.set({"http.response.status_code": response.status})
        if response.status >= 500:
            span.failed(str(response.status))
        return response


@web.middleware
async def callers_request(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Binds the id of the public request that an internal call belongs to: for log lines and the audit."""
    given = request.headers.get(CALLERS_REQUEST_ID, "")
    if not is_id("req", given):
        return await handler(request)
    structlog.contextvars.bind_contextvars(callers_request_id=given)
    try:
        return await handler(request)
    finally:
        structlog.contextvars.unbind_contextvars("callers_request_id")


def callers_request_id() -> str | None:
    """None outside of a call that brought one."""
    found: str | None = structlog.contextvars.get_contextvars().get("callers_request_id")
    return found


def _failed(request: web.Request, error: Exception) -> web.Response:
    """The problem document of an exception. Raises ConnectionResetError when the headers have been sent already."""
    if not isinstance(error, ApiError | web.HTTPException):
        log.error("request_failed", method=request.method, route=route_name(request), exc_info=error)
    _refuse_second_response(request)
    if isinstance(error, web.HTTPNotFound) and (page_for := request.app.get(NOT_FOUND_PAGE)) is not None:
        page = page_for(request)
        if page is not None:
            return page
    return problem_response(api_error_of(error), request[REQUEST_ID])


def _refuse_second_response(request: web.Request) -> None:
    """Aborts the connection when a response has been started: a second one would be read as part of its body."""
    if request.writer.output_size == 0:
        return
    transport = request.transport
    if transport is not None and not transport.is_closing():
        log.warning("response_aborted", method=request.method, route=route_name(request))
        transport.abort()
    raise ConnectionResetError("the response was not finished")


def _log_summary(request: web.Request, response: web.StreamResponse) -> None:
    callers_id = request.headers.get(CALLERS_REQUEST_ID, "")
    client_id = request.headers.get("X-Client-Request-Id", "")
    log.debug(
        "request",
        request_id=request[REQUEST_ID],
        callers_request_id=callers_id if is_id("req", callers_id) else None,
        client_request_id=client_id if _CLIENT_ID.fullmatch(client_id) else None,
        method=request.method,
        route=route_name(request),
        status=response.status,
        duration_s=round(time.monotonic() - request[STARTED], 4),
    )


def route_name(request: web.Request) -> str:
    """The route's template. Ids and queries stay out of the logs."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"


# Probes and scrapers ask for these without credentials.
OPEN_PATHS: Final = frozenset({"/healthz", "/readyz", "/metrics"})


def require_token(*tokens: str) -> Any:
    """The middleware of the internal servers: every route but health and metrics needs one of the shared tokens."""
    expected = [f"Bearer {token}".encode() for token in tokens]

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if request.path in OPEN_PATHS or any(hmac.compare_digest(given, token) for token in expected):
            return await handler(request)
        raise ApiError(Code.INVALID_API_KEY)

    return check


@web.middleware
async def require_certificate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """For a server with InternalTls: every route but health and metrics needs a client's certificate too.

    The handshake has checked any certificate that was shown.
    """
    if request.path not in OPEN_PATHS and not request.get_extra_info("peercert"):
        raise ApiError(Code.INVALID_API_KEY, "This server wants a client certificate of its own authority.")
    return await handler(request)
