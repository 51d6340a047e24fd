"""An ingest worker's process: reads knowledge sources until it is told to stop. It runs no turns."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

from aiohttp import web

from services.agent_worker.ingest.child import Limits
from services.agent_worker.ingest.consumer import IngestConsumer
from services.agent_worker.ingest.index_builds import index_builds
from services.agent_worker.ingest.pages import Pages
from services.agent_worker.ingest.reader import SourceReader
from services.agent_worker.knowledge.choice import current_retriever
from services.agent_worker.settings import WorkerSettings
from shared.history_client import HistoryClient
from shared.log import get_logger
from shared.tasks import BackgroundLoops, loops_ready, supervise
from shared.web.guarded_client import GuardedClient
from shared.web.health import health_routes
from shared.web.process import app_runner, listening, wait_for_stop

log = get_logger()

HISTORY_TIMEOUT_S = 15.0


async def serve_ingest(settings: WorkerSettings) -> None:
    token = settings.internal_token.get_secret_value()
    limits = Limits(
        memory_bytes=settings.ingest_memory_bytes, cpu_s=settings.ingest_cpu_s, time_s=2.0 * settings.ingest_cpu_s
    )
    async with (
        HistoryClient(settings.history_urls, token, timeout_s=HISTORY_TIMEOUT_S, tls=settings.history_tls) as history,
        GuardedClient(settings.outgoing_policy) as client,
        AsyncExitStack() as stack,
    ):
        consumer = IngestConsumer(
            history,
            SourceReader(history, Pages(client), limits),
            concurrency=settings.ingest_concurrency,
            lease_s=settings.ingest_lease_s,
        )
        retriever = current_retriever(settings, history)
        stack.push_async_callback(retriever.close)
        builds = index_builds(history, retriever, lease_s=settings.ingest_lease_s)
        groups = (consumer.loops, builds.loops, retriever.loops)
        stop = asyncio.Event()
        app = web.Application()
        app.add_routes(_health(history, groups, stop))
        async with listening(app_runner(app), settings.host, settings.port):
            log.info("ingest_worker_started", concurrency=settings.ingest_concurrency)
            consumer.start()
            builds.start()
            retriever.start()
            try:
                await supervise(wait_for_stop(), *groups)
            finally:
                stop.set()
                await asyncio.gather(consumer.drain(), builds.drain())
    log.info("ingest_worker_stopped")


def _health(history: HistoryClient, groups: Sequence[BackgroundLoops], stop: asyncio.Event) -> list[web.RouteDef]:
    async def loops_run() -> None:
        await loops_ready(*groups)

    async def is_staying() -> None:
        if stop.is_set():
            raise RuntimeError("draining")

    return health_routes({"history": history.ready, "loops": loops_run, "draining": is_staying})
