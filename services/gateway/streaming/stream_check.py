"""`GET /api/v1/stream-check`: a short slow stream, by which an operator sees whether a proxy holds deltas back.

It needs no key, so that no secret is sent for a test. It has the headers of every other stream and touches no store. At
most a few run at once.
"""

import asyncio
import time
from typing import Final

from aiohttp import web

from services.gateway.streaming.sse_response import EventStream
from shared.contracts.errors import ApiError, Code
from shared.web.middleware import Handler

PATH: Final = "/stream-check"
EVENTS: Final = 7
PAUSE_S: Final = 0.3
AT_ONCE: Final = 4


def stream_check(at_once: int = AT_ONCE) -> Handler:
    """Each event's data is the milliseconds since the first one was sent. Beyond `at_once` streams: `overloaded`."""
    running = 0

    async def check(request: web.Request) -> web.StreamResponse:
        nonlocal running
        if running >= at_once:
            raise ApiError(Code.OVERLOADED, "Too many stream checks run. Try again in some seconds.")
        running += 1
        try:
            return await _streamed(request)
        finally:
            running -= 1

    return check


async def _streamed(request: web.Request) -> web.StreamResponse:
    stream = await EventStream.start(request)
    if request.method == "HEAD":
        return stream.response
    began = time.monotonic()
    try:
        for number in range(EVENTS):
            if number:
                await asyncio.sleep(PAUSE_S)
            await stream.send(b"event: tick\ndata: %d\n\n" % round((time.monotonic() - began) * 1000))
        await stream.end()
    except (ConnectionError, TimeoutError):
        stream.abort()
    return stream.response
