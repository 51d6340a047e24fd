"""The slow stream by which an operator finds proxies that hold deltas back."""

import asyncio
import time

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from services.gateway.streaming.sse_response import HEADERS
from services.gateway.streaming.stream_check import EVENTS, PATH, PAUSE_S, stream_check
from shared.web.middleware import request_middleware


def client() -> "TestClient[web.Request, web.Application]":
    app = web.Application(middlewares=[request_middleware])
    app.add_routes([web.get(PATH, stream_check(at_once=1))])
    return TestClient(TestServer(app))


async def test_its_events_come_one_by_one_with_the_headers_of_every_stream() -> None:
    async with client() as http, http.get(PATH) as response:
        assert HEADERS.items() <= response.headers.items()
        arrived = [(int(line[6:]), time.monotonic()) async for line in response.content if line.startswith(b"data: ")]
    sent = [number for number, _ in arrived]
    assert len(sent) == EVENTS
    assert sent == sorted(sent)
    assert sent[-1] >= (EVENTS - 1) * PAUSE_S * 1000
    assert arrived[-1][1] - arrived[0][1] > (EVENTS - 1) * PAUSE_S / 2


async def test_few_run_at_once_and_one_that_is_over_gives_its_place_back() -> None:
    async with client() as http:
        first = await http.get(PATH)
        async with http.get(PATH) as second:
            assert second.status == 503
            assert (await second.json())["code"] == "overloaded"
        first.close()
        async with asyncio.timeout(20):
            while (await http.get(PATH)).status != 200:
                pass
        async with http.head(PATH) as head:
            assert await head.read() == b""
