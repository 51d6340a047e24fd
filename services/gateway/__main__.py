"""A gateway process: it serves until a signal, then ends its streams so that clients resume at another gateway."""

import asyncio
import gc
from contextlib import suppress
from typing import Final

from services.gateway.app import create_app, open_dependencies
from services.gateway.dependencies import Dependencies
from services.gateway.edge.server import PublicRunner
from services.gateway.settings import GatewaySettings
from shared.log import configure, get_logger
from shared.tasks import supervise
from shared.tracing.start import tracing
from shared.web.process import listening, run, wait_for_stop

log = get_logger()

DRAIN_S: Final = 2.5
# Silent streams read their logs in waves. With CPython's default of 700, the objects that thousands of streams hold
# during a wave are promoted, and every other wave causes a full collection. With 5,000 streams it stopped all of them
# for 0.3 s in each 10 s, and was half of the cost of silent streams.
YOUNG_OBJECTS: Final = 10_000


async def serve(settings: GatewaySettings) -> None:
    async with open_dependencies(settings) as dependencies:
        public, private = (
            PublicRunner(create_app(dependencies, private=False)),
            PublicRunner(create_app(dependencies, private=True)),
        )
        async with (
            listening(private, settings.host, settings.private_port),
            listening(public, settings.host, settings.port, reuse_port=settings.reuse_port),
        ):
            log.info("gateway_started", port=settings.port, private_port=settings.private_port)
            try:
                await supervise(wait_for_stop(), *dependencies.loops)
            finally:
                await drain(dependencies, public)
    log.info("gateway_stopped")


async def drain(dependencies: Dependencies, public: PublicRunner) -> None:
    """Refuses new connections and ends every stream. aiohttp by itself would only wait for the streams."""
    dependencies.drain()
    for site in list(public.sites):
        await site.stop()
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_S):
            await dependencies.limits.idle.wait()
    log.info("gateway_drained", streams_left=dependencies.limits.held)


def main() -> None:
    settings = GatewaySettings.load_or_exit()
    configure("gateway", settings.log_level)
    gc.set_threshold(YOUNG_OBJECTS)
    with tracing("gateway", settings):
        run(lambda: serve(settings), uvloop=settings.uvloop)


if __name__ == "__main__":
    main()
