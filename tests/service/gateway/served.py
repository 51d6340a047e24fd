"""An application on a free port, served as production serves it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from services.gateway.edge.server import PublicRunner


@asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[tuple[str, int]]:
    async with running(PublicRunner(app)) as address:
        yield address


@asynccontextmanager
async def running(runner: PublicRunner) -> AsyncIterator[tuple[str, int]]:
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield host, port
    finally:
        await runner.cleanup()
