"""aiohttp's server, which says nothing about itself, with problem documents for what it refuses before any middleware:
broken requests and unknown expectations.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest
from aiohttp.web_server import Server

from shared.contracts.errors import ApiError, Code
from shared.ids import new_id
from shared.log import get_logger
from shared.web.problems import api_error_of, problem_response

log = get_logger()

# Also the time limit for a request's headers. aiohttp's default is an hour.
KEEPALIVE_S: Final = 20.0
SHUTDOWN_S: Final = 1.0
# How long the rest of a refused body is read and thrown away, so that its sender reads the refusal.
LINGERING_S: Final = 2.0
# Answers are data for programs. If a browser is led to one, it must not take it for a page, frame it or keep it.
SECURITY_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


class _Refusal(web.Response):
    """A response that the hook which removes aiohttp's own name does not see."""

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self.headers.pop("Server", None)


def _refusal(error: ApiError) -> web.Response:
    """The answer to a request that no middleware sees. It closes the connection."""
    request_id = new_id("req")
    log.info("request_refused", request_id=request_id, code=str(error.code), status=error.status)
    problem = problem_response(error, request_id)
    headers = {**problem.headers, **SECURITY_HEADERS, "x-request-id": request_id}
    response = _Refusal(body=problem.body, status=problem.status, headers=headers)
    response.force_close()
    return response


class QuietHandler(RequestHandler):
    """A connection whose answers and logs never contain parts of a broken request. aiohttp's own would echo a key."""

    __slots__ = ()

    def handle_error(
        self, request: BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionError("a response was started already")
        return _refusal(ApiError(Code.INVALID_REQUEST if status < 500 else Code.INTERNAL_ERROR))

    def log_exception(self, *args: Any, **kw: Any) -> None:
        error = kw.get("exc_info")
        log.warning("connection_failed", error=type(error).__name__ if error else None)


class QuietServer(Server):
    def __call__(self) -> RequestHandler:
        return QuietHandler(self, loop=self._loop, **self._kwargs)


Handle = Callable[[BaseRequest], Awaitable[web.StreamResponse]]


def _with_problems(handle: Handle) -> Handle:
    """aiohttp refuses an unknown `Expect` (417) before it calls the middlewares: that refusal is answered here."""

    async def answered(request: BaseRequest) -> web.StreamResponse:
        try:
            return await handle(request)
        except web.HTTPException as error:
            return _refusal(api_error_of(error))

    return answered


async def _hide_name(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.pop("Server", None)


class QuietRunner(web.AppRunner):
    """Serves an application. `keepalive_s` is also the time limit for a request's headers."""

    __slots__ = ()

    def __init__(self, app: web.Application, *, keepalive_s: float = KEEPALIVE_S) -> None:
        super().__init__(
            app,
            keepalive_timeout=keepalive_s,
            lingering_time=LINGERING_S,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=SHUTDOWN_S,
        )
        app.on_response_prepare.append(_hide_name)

    async def _make_server(self) -> Server:
        server = await super()._make_server()
        return QuietServer(
            _with_problems(server.request_handler),
            request_factory=server.request_factory,
            handler_cancellation=server.handler_cancellation,
            loop=server._loop,
            **server._kwargs,
        )
