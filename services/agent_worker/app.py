"""A worker process, put together in one place: clients, the leased queue, the health and metrics port."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiohttp import web
from redis.exceptions import RedisError

from services.agent_worker.guardrails.hooks import Hooks
from services.agent_worker.knowledge.choice import current_retriever
from services.agent_worker.metrics import OLDEST_SECONDS, WAITING
from services.agent_worker.model.client import Models
from services.agent_worker.settings import Timeouts, WorkerSettings
from services.agent_worker.tools.kit import ToolKit
from services.agent_worker.turns.agent_versions import AgentCache
from services.agent_worker.turns.dependencies import Dependencies
from services.agent_worker.turns.previews import PreviewServer
from services.agent_worker.turns.run import TurnRunner
from shared.history_client import HistoryClient
from shared.log import get_logger
from shared.previews.exchange import PreviewExchange
from shared.run_log.reader import RunLogs
from shared.run_log.writer import LogWriter
from shared.secrets import SecretBox
from shared.tasks import BackgroundLoops, LoopEnded, loops_ready, supervise
from shared.turn_queue.queue import TurnQueue
from shared.turn_queue.worker import LeasedWorker
from shared.web.guarded_client import GuardedClient
from shared.web.health import health_routes
from shared.web.process import app_runner, listening, wait_for_stop

log = get_logger()

BACKLOG_INTERVAL_S = 2.0
STALE_S = 15.0
# Beyond the deadline and the drain, so that arq's own timeout never ends a turn that the runner would have ended well.
JOB_MARGIN_S = 60.0


@asynccontextmanager
async def worker_dependencies(settings: WorkerSettings) -> AsyncIterator[Dependencies]:
    """Everything that turns need, closed in reverse order. Nothing connects yet."""
    timeouts = Timeouts(
        connect_s=settings.model_connect_timeout_s,
        first_token_s=settings.model_first_token_timeout_s,
        token_s=settings.model_token_timeout_s,
    )
    secrets = SecretBox(settings.secret_keys)
    # A log must outlive the turn that is written into it, also one that is silent up to its deadline.
    log_ttl_s = 2 * settings.turn_timeout_s + settings.log_keep_s
    connections = 2 * settings.max_turns
    client = GuardedClient(settings.outgoing_policy)
    async with (
        HistoryClient(
            settings.history_urls, settings.internal_token.get_secret_value(), tls=settings.history_tls
        ) as history,
        Models(settings.all_upstreams, timeouts, tries=settings.model_tries, connections=connections) as models,
        ToolKit(client, secrets, result_bytes=settings.tool_result_bytes) as tools,
        LogWriter(settings.stream_shards, ttl_s=log_ttl_s) as logs,
    ):
        retriever = current_retriever(settings, history)
        retriever.start()
        try:
            yield Dependencies(
                history=history,
                models=models,
                tools=tools,
                hooks=Hooks(client, secrets),
                retriever=retriever,
                logs=logs,
                agents=AgentCache(),
                redaction=settings.redaction_hook(),
                knowledge_loops=retriever.loops,
            )
        finally:
            await retriever.close()


async def serve(settings: WorkerSettings) -> None:
    """Runs turns until SIGTERM or SIGINT, then drains."""
    queue = TurnQueue.connect(settings.queue_redis_url)
    stop = asyncio.Event()
    async with (
        worker_dependencies(settings) as dependencies,
        RunLogs(settings.stream_shards, keep_s=settings.log_keep_s) as logs,
    ):
        worker = LeasedWorker(
            queue,
            TurnRunner(dependencies),
            max_turns=settings.max_turns,
            lease_s=settings.lease_s,
            drain_s=settings.drain_s,
            job_timeout_s=settings.turn_timeout_s + settings.drain_s + JOB_MARGIN_S,
        )
        previews = PreviewServer(
            dependencies.history, dependencies.retriever, PreviewExchange(settings.queue_redis_url)
        )
        loops = BackgroundLoops()
        app = web.Application()
        app.add_routes(
            _health(dependencies, queue, logs, stop, loops, worker.loops, previews.loops, *_of(dependencies))
        )
        async with listening(app_runner(app), settings.host, settings.port):
            log.info("worker_started", max_turns=settings.max_turns)
            previews.start()
            try:
                await _work(worker, queue, loops, (previews.loops, *_of(dependencies)), stop)
            finally:
                await previews.close()
                await loops.end()
                await queue.aclose()
    log.info("worker_stopped")


def _of(dependencies: Dependencies) -> tuple[BackgroundLoops, ...]:
    return dependencies.logs.loops, dependencies.knowledge_loops


async def _work(
    worker: LeasedWorker,
    queue: TurnQueue,
    loops: BackgroundLoops,
    others: Sequence[BackgroundLoops],
    stop: asyncio.Event,
) -> None:
    """Runs turns until a signal, then drains. A loop that ends by itself makes the worker requeue its turns at once.

    Raises LoopEnded.
    """
    serving = loops.start("worker", worker.serve(stop))
    loops.start("backlog", _watch_backlog(queue, loops), stale_after_s=STALE_S)
    try:
        await supervise(wait_for_stop(), loops, worker.loops, *others)
    except LoopEnded:
        worker.drain_s = 0.0
        raise
    finally:
        loops.expect_end()
        stop.set()
        await serving


def _health(
    dependencies: Dependencies, queue: TurnQueue, logs: RunLogs, stop: asyncio.Event, *loops: BackgroundLoops
) -> list[web.RouteDef]:
    async def loops_run() -> None:
        await loops_ready(*loops)

    async def queue_answers() -> None:
        await queue.ping()

    async def is_staying() -> None:
        if stop.is_set():
            raise RuntimeError("draining")

    return health_routes(
        {
            "queue": queue_answers,
            "streams": logs.ping,
            "history": dependencies.history.ready,
            "loops": loops_run,
            "draining": is_staying,
        }
    )


async def _watch_backlog(queue: TurnQueue, loops: BackgroundLoops) -> None:
    """Updates the metrics by which operators add workers."""
    while True:
        try:
            waiting, oldest_s = await queue.backlog()
            WAITING.set(waiting)
            OLDEST_SECONDS.set(oldest_s)
            loops.succeeded("backlog")
        except (RedisError, OSError) as error:
            log.debug("backlog_unknown", error=type(error).__name__)
        await asyncio.sleep(BACKLOG_INTERVAL_S)
