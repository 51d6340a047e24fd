"""aiohttp's server with one change: what cannot be parsed is answered in our words. Its own words echo the line, key and all."""

from typing import Any, Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest
from aiohttp.web_server import Server

from shared.contracts.errors import ApiError, Code
from shared.ids import new_id
from shared.log import get_logger
from shared.web.problems import problem_response

log = get_logger()

# Also the slow-header timer; aiohttp's default for it is an hour.
KEEPALIVE_S: Final = 20.0
SHUTDOWN_S: Final = 1.0


class QuietHandler(RequestHandler):
    """A connection that neither answers nor logs what a broken request was made of."""

    __slots__ = ()

    def handle_error(
        self, request: BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        request_id = new_id("req")
        log.info("request_refused_by_parser", request_id=request_id, status=status, error=type(exc).__name__)
        if request.writer.output_size > 0:
            raise ConnectionError("a response has begun already")
        code = Code.INVALID_REQUEST if status < 500 else Code.INTERNAL_ERROR
        response = problem_response(ApiError(code), request_id)
        response.headers["x-request-id"] = request_id
        # Without a request there is no hook that takes aiohttp's own name off.
        response.headers["Server"] = "parley"
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        error = kw.get("exc_info")
        log.warning("connection_failed", error=type(error).__name__ if error else None)


class QuietServer(Server):
    def __call__(self) -> RequestHandler:
        return QuietHandler(self, loop=self._loop, **self._kwargs)


class PublicRunner(web.AppRunner):
    """Serves the public application."""

    __slots__ = ()

    def __init__(self, app: web.Application) -> None:
        super().__init__(
            app, keepalive_timeout=KEEPALIVE_S, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_S
        )

    async def _make_server(self) -> Server:
        server = await super()._make_server()
        return QuietServer(
            server.request_handler,
            request_factory=server.request_factory,
            handler_cancellation=server.handler_cancellation,
            loop=server._loop,
            **server._kwargs,
        )
