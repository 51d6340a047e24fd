"""Middlewares of the internal API: what the stores raise becomes an API error, and each call is measured."""

import asyncio
import time

from aiohttp import web
from redis.exceptions import RedisError

from services.history.metrics import MONGODB_SECONDS, REQUEST_SECONDS, STORE_ERRORS
from services.history.mongo.errors import Unstorable
from services.history.mongo.waits import counted_waits
from shared.contracts.errors import ApiError, Code
from shared.log import get_logger
from shared.web.middleware import Handler, route_name

log = get_logger()


@web.middleware
async def failures(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Translates what the stores raise into API errors. MongoDB's outages are ApiErrors already."""
    try:
        return await handler(request)
    except Unstorable:
        raise ApiError(
            Code.PAYLOAD_TOO_LARGE,
            "The document cannot be stored: it is too large, or has a form that the database refuses.",
        ) from None
    except ConnectionResetError:
        raise
    except (RedisError, OSError) as error:
        STORE_ERRORS.labels("redis").inc()
        log.warning("redis_unreachable", error=type(error).__name__)
        raise ApiError(Code.DEPENDENCY_UNAVAILABLE, "The queue does not answer.") from None


@web.middleware
async def timed(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Measures how long a call takes, and how long of that it waits for MongoDB. Failed calls count too."""
    started = time.monotonic()
    with counted_waits() as waits:
        try:
            return await handler(request)
        finally:
            took_s = time.monotonic() - started
            # After the answer has been sent.
            asyncio.get_running_loop().call_soon(_observe, route_name(request), took_s, waits.total_s)


def _observe(route: str, took_s: float, waited_s: float) -> None:
    REQUEST_SECONDS.labels(route).observe(took_s)
    MONGODB_SECONDS.labels(route).observe(waited_s)
