"""A gateway's event stream whose next delta is sent only after the client has told the test that it saw the last."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from services.gateway.streaming.sse_response import HEADERS

DELTAS: Final = 24
# None of them is compressible to nothing, and all are as short as a token's frame is.
SEEN_WITHIN_S: Final = 30.0


def delta(number: int) -> bytes:
    return b'id: 1-%d\nevent: delta\ndata: {"text":"token %d "}\n\n' % (number, number)


class Held:
    """Two servers with the gateway's headers. `seen` releases the next delta."""

    def __init__(self) -> None:
        self._seen = asyncio.Semaphore(0)
        self.urls = list[str]()

    def seen(self) -> None:
        self._seen.release()

    async def stream(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers=HEADERS)
        await answer.prepare(request)
        for number in range(DELTAS):
            await answer.write(delta(number))
            async with asyncio.timeout(SEEN_WITHIN_S):
                await self._seen.acquire()
        return answer

    async def echo(self, request: web.Request) -> web.Response:
        return web.json_response({name: request.headers.getall(name) for name in set(request.headers)})


async def ready(_: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


@asynccontextmanager
async def held_upstreams() -> AsyncIterator[Held]:
    held = Held()
    app = web.Application()
    app.add_routes([web.get("/readyz", ready), web.post("/stream", held.stream), web.get("/echo", held.echo)])
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    try:
        for _ in range(2):
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
        held.urls = [f"http://127.0.0.1:{address[1]}" for address in runner.addresses]
        yield held
    finally:
        # Else a stream that nobody reads is waited for.
        for _ in range(DELTAS):
            held.seen()
        await runner.cleanup()
