"""Answers of any length as lines of JSON: the client gets all of them, or a broken connection."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import orjson
from aiohttp import web

from services.gateway.call import Call
from shared.contracts.errors import ApiError
from shared.log import get_logger

log = get_logger()

NDJSON: Final = "application/x-ndjson"
WRITE_TIMEOUT_S: Final = 15.0
# A client that reads slowly holds back the reads of history: this much waits for it, beside one page of turns.
WRITE_BUFFER: Final = 64 << 10
HEADERS: Final = {"Content-Type": NDJSON, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}


async def send_lines(call: Call, lines: AsyncIterator[bytes]) -> web.StreamResponse:
    """`lines` are sent as they come. It counts as one of the key's streams."""
    with call.hold():
        # The first read is made before the headers are sent: its errors are answered with a problem document.
        first = await anext(lines)
        response = web.StreamResponse(headers=HEADERS)
        await response.prepare(call.request)
        if call.request.method != "HEAD":
            await _send(call, response, first, lines)
        return response


async def _send(call: Call, response: web.StreamResponse, first: bytes, lines: AsyncIterator[bytes]) -> None:
    """Sends all lines, or else breaks the connection: no client may take a part for the whole."""
    transport = call.request.transport
    if transport is not None:
        transport.set_write_buffer_limits(high=WRITE_BUFFER)
    try:
        await _write(response, first)
        async for data in lines:
            await _write(response, data)
        await response.write_eof()
    except (ApiError, ConnectionError, TimeoutError) as error:
        log.warning("export_broken_off", error=type(error).__name__)
        if transport is not None:
            transport.abort()


async def _write(response: web.StreamResponse, data: bytes) -> None:
    async with asyncio.timeout(WRITE_TIMEOUT_S):
        await response.write(data)


def line(value: dict[str, Any]) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
