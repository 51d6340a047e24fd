"""What the HTTP servers share: bodies in, JSON and errors out, request ids, health, a process's life from start to signal."""

import asyncio
import hmac
import logging
import re
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import orjson
import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from shared.contracts.errors import ApiError, Code
from shared.ids import new_id
from shared.log import get_logger

log = get_logger()
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Check = Callable[[], Awaitable[None]]

REQUEST_ID: Final = web.RequestKey("request_id", str)
BODY_LIMIT: Final = 256 * 1024
BODY_TIMEOUT_S: Final = 10.0
MAX_DEPTH: Final = 64
_CLIENT_ID = re.compile(r"[\x21-\x7e]{1,200}")


# --- bodies in


def reject_unstorable(value: Any, depth: int = 0) -> None:
    """Raises `invalid_json` for what passes a JSON parser but not the stores: huge integers, NUL, deep nesting."""
    if depth > MAX_DEPTH:
        raise ApiError(Code.INVALID_JSON, f"The body is nested deeper than {MAX_DEPTH} levels.")
    match value:
        case str() if "\0" in value:
            raise ApiError(Code.INVALID_JSON, "A text holds a NUL character.")
        case int() if not -(2**63) <= value < 2**63:
            raise ApiError(Code.INVALID_JSON, "An integer does not fit into 64 bits.")
        case list():
            for item in value:
                reject_unstorable(item, depth + 1)
        case dict():
            for name, item in value.items():
                reject_unstorable(name)
                reject_unstorable(item, depth + 1)


def parse_json(raw: bytes) -> Any:
    """JSON that every store can hold, or `invalid_json`."""
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise ApiError(Code.INVALID_JSON, "The body is not valid JSON in UTF-8.") from None
    reject_unstorable(value)
    return value


async def read_body(request: web.Request) -> bytes:
    """The body, in time and of bounded size. Raises `request_timeout`, `payload_too_large`, `unsupported_media_type`."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise ApiError(Code.UNSUPPORTED_MEDIA_TYPE, "Content-Encoding is not supported.")
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await request.read()
    except TimeoutError:
        raise ApiError(Code.REQUEST_TIMEOUT, headers={"Connection": "close"}) from None
    except web.HTTPRequestEntityTooLarge:
        raise ApiError(Code.PAYLOAD_TOO_LARGE, f"The body is larger than {request.client_max_size} bytes.") from None


async def read_json(request: web.Request) -> Any:
    """The JSON body of a request."""
    if request.content_type != "application/json":
        raise ApiError(Code.UNSUPPORTED_MEDIA_TYPE, "The body must be application/json.")
    return parse_json(await read_body(request))


# --- JSON and errors out


def json_response(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        body=orjson.dumps(value), status=status, headers=headers, content_type="application/json", charset="utf-8"
    )


def problem_response(error: ApiError, request_id: str) -> web.Response:
    """The one error body, with the headers that its status calls for."""
    headers = dict(error.headers)
    if error.status == 401:
        headers.setdefault("WWW-Authenticate", "Bearer")
    if error.status in (429, 503):
        headers.setdefault("Retry-After", "1")
    if error.status == 409 and error.code is not Code.TURN_IN_PROGRESS:
        headers["x-should-retry"] = "false"
    return web.Response(
        body=orjson.dumps(error.problem(request_id)),
        status=error.status,
        headers=headers,
        content_type="application/problem+json",
    )


def _http_error(error: web.HTTPException) -> ApiError:
    """aiohttp's own refusals in our words."""
    if error.status == 405:
        return ApiError(Code.METHOD_NOT_ALLOWED, headers={"Allow": error.headers.get("Allow", "")})
    codes = {
        404: Code.NOT_FOUND,
        413: Code.PAYLOAD_TOO_LARGE,
        415: Code.UNSUPPORTED_MEDIA_TYPE,
        408: Code.REQUEST_TIMEOUT,
    }
    return ApiError(codes.get(error.status, Code.INVALID_REQUEST if error.status < 500 else Code.INTERNAL_ERROR))


def _failed(request: web.Request, error: Exception) -> web.Response:
    """The problem document of an exception. Raises ConnectionResetError when the headers have been sent already."""
    if isinstance(error, web.HTTPException):
        error = _http_error(error)
    elif not isinstance(error, ApiError):
        log.error("request_failed", method=request.method, route=route_name(request), exc_info=error)
        error = ApiError(Code.INTERNAL_ERROR)
    _refuse_second_head(request)
    return problem_response(error, request[REQUEST_ID])


def _refuse_second_head(request: web.Request) -> None:
    """Aborts the connection when a response has been started: a second one would be read as part of its body."""
    if request.writer.output_size == 0:
        return
    transport = request.transport
    if transport is not None and not transport.is_closing():
        log.warning("response_aborted", method=request.method, route=route_name(request))
        transport.abort()
    raise ConnectionResetError("the response was not finished")


@web.middleware
async def edge(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The outermost middleware: request id, one summary line, and the only place where an exception becomes an answer."""
    request_id = new_id("req")
    request[REQUEST_ID] = request_id
    structlog.contextvars.bind_contextvars(request_id=request_id)
    started = time.monotonic()
    try:
        response = await handler(request)
        if not response.prepared:
            _refuse_second_head(request)
    except (asyncio.CancelledError, ConnectionResetError):
        raise
    except Exception as error:
        response = _failed(request, error)
    finally:
        structlog.contextvars.unbind_contextvars("request_id")
    if not response.prepared:
        response.headers["x-request-id"] = request_id
    if log.is_enabled_for(logging.DEBUG):
        client_id = request.headers.get("X-Client-Request-Id", "")
        log.debug(
            "request",
            request_id=request_id,
            client_request_id=client_id if _CLIENT_ID.fullmatch(client_id) else None,
            method=request.method,
            route=route_name(request),
            status=response.status,
            duration_s=round(time.monotonic() - started, 4),
        )
    return response


def route_name(request: web.Request) -> str:
    """The route's template: ids and queries stay out of the logs."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"


def require_token(token: str) -> Any:
    """Middleware of the internal servers: everything but health and metrics needs the shared token."""
    expected = f"Bearer {token}".encode()

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if request.path in ("/healthz", "/readyz", "/metrics") or hmac.compare_digest(given, expected):
            return await handler(request)
        raise ApiError(Code.INVALID_API_KEY)

    return check


# --- health


def health_routes(checks: Mapping[str, Check]) -> list[web.RouteDef]:
    """`/healthz` (alive), `/readyz` (each check within 1 s; names those that fail) and `/metrics`."""

    async def ready(name: str, check: Check) -> str | None:
        try:
            async with asyncio.timeout(1.0):
                await check()
        except Exception as error:
            log.debug("not_ready", dependency=name, error=type(error).__name__)
            return name
        return None

    async def healthz(_: web.Request) -> web.Response:
        return json_response({"status": "ok"})

    async def readyz(_: web.Request) -> web.Response:
        failing = [
            name for name in await asyncio.gather(*(ready(name, check) for name, check in checks.items())) if name
        ]
        return json_response(
            {"status": "unavailable" if failing else "ok", "failing": failing}, status=503 if failing else 200
        )

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return [web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)]


# --- a process's life


async def wait_for_stop() -> None:
    """Returns at the first SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


@asynccontextmanager
async def listening(runner: web.AppRunner, host: str, *ports: int, reuse_port: bool = False) -> AsyncIterator[None]:
    """Serves on the ports while the block runs. The first one may be shared with other processes."""
    await runner.setup()
    try:
        for index, port in enumerate(ports):
            site = web.TCPSite(runner, host, port, backlog=1024, reuse_port=reuse_port and index == 0)
            await site.start()
        yield
    finally:
        await runner.cleanup()


def app_runner(app: web.Application) -> web.AppRunner:
    """The keep-alive time is also the slow-header timer, and aiohttp's default for it is an hour."""
    return web.AppRunner(app, keepalive_timeout=20.0, access_log=None, handle_signals=False, shutdown_timeout=1.0)


def run(main: Callable[[], Awaitable[None]], *, uvloop: bool) -> None:
    """Runs a process's `main` to its end."""

    async def whole() -> None:
        await main()

    if uvloop:
        import uvloop as fast_loop  # Optional at run time: the tests of pure modules must not need it.

        fast_loop.run(whole())
    else:
        asyncio.run(whole())
