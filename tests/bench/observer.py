"""A process of its own beside the stack: a collector that takes every span, and a scraper of every `/metrics`.

`python -m tests.bench.observer PORT URL…`
"""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import aiohttp
from aiohttp import web

SCRAPE_S: Final = 5.0


async def _take(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(content_type="application/x-protobuf")


async def _scrape(http: aiohttp.ClientSession, url: str) -> None:
    with suppress(aiohttp.ClientError, TimeoutError):
        async with http.get(url) as answer:
            await answer.read()


async def observe(port: int, urls: Sequence[str]) -> None:
    """Until it is ended."""
    app = web.Application(client_max_size=1 << 26)
    app.router.add_post("/v1/traces", _take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5.0)) as http:
        while True:
            await asyncio.gather(*(_scrape(http, url) for url in urls))
            await asyncio.sleep(SCRAPE_S)


if __name__ == "__main__":
    asyncio.run(observe(int(sys.argv[1]), sys.argv[2:]))
