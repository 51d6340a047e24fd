"""The life of a server process: its ports, its event loop, and the signal that stops it."""

import asyncio
import signal
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from shared.event_loop_lag import measured_lag
from shared.web.server import QuietRunner


async def wait_for_stop() -> None:
    """Returns at the first SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


@asynccontextmanager
async def listening(
    runner: web.AppRunner, host: str, *ports: int, reuse_port: bool = False, tls: ssl.SSLContext | None = None
) -> AsyncIterator[None]:
    """Serves on the ports while the block runs. `reuse_port` shares the first one with other processes."""
    await runner.setup()
    try:
        for index, port in enumerate(ports):
            shared = reuse_port and index == 0
            site = web.TCPSite(runner, host, port, backlog=1024, reuse_port=shared, ssl_context=tls)
            await site.start()
        yield
    finally:
        await runner.cleanup()


def app_runner(app: web.Application) -> web.AppRunner:
    """The runner of an internal server."""
    return QuietRunner(app)


def run(main: Callable[[], Awaitable[None]], *, uvloop: bool) -> None:
    """Runs a process's `main` to its end."""

    async def whole() -> None:
        with measured_lag():
            await main()

    if uvloop:
        import uvloop as fast_loop  # Optional: tests of pure modules must not need it.

        fast_loop.run(whole())
    else:
        asyncio.run(whole())
