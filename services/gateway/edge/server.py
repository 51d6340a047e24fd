"""aiohttp's server with problem documents for what it refuses by itself: broken requests and unknown expectations."""

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


def _refusal(error: ApiError) -> web.Response:
    """The answer to a request that no middleware sees. It closes the connection."""
    request_id = new_id("req")
    log.info("request_refused", request_id=request_id, code=str(error.code), status=error.status)
    response = problem_response(error, request_id)
    response.headers["x-request-id"] = request_id
    # The hook that removes aiohttp's own name does not see these responses.
    response.headers["Server"] = "parley"
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
            _with_problems(server.request_handler),
            request_factory=server.request_factory,
            handler_cancellation=server.handler_cancellation,
            loop=server._loop,
            **server._kwargs,
        )
