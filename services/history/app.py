"""A history process: its parts, built in one place, and the internal API over them."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from redis.exceptions import RedisError

from services.history.agents.versions import Agents
from services.history.keys.records import Keys
from services.history.knowledge.passages import Knowledge
from services.history.metrics import MONGODB_SECONDS, REQUEST_SECONDS
from services.history.mongo.client import Store, Unstorable, counted_waits
from services.history.reconcile.outbox import Outbox
from services.history.reconcile.reconciler import Reconciler
from services.history.sessions.records import Sessions
from services.history.sessions.transcript import Transcript
from services.history.settings import HistorySettings
from services.history.turns.admission import Turns
from services.history.turns.claims import Claims
from services.history.turns.completions import Completions
from services.history.turns.context import Contexts
from services.history.turns.finalize import TurnFinalizer
from shared.contracts.errors import ApiError, Code
from shared.log import get_logger
from shared.run_log.reader import RunLogs
from shared.turn_queue.queue import TurnQueue
from shared.web.health import health_routes
from shared.web.middleware import Handler, request_middleware, require_token, route_name

log = get_logger()

# Internal callers send whole knowledge bases; the public limits are the gateway's.
BODY_LIMIT: Final = 64 * 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Dependencies:
    settings: HistorySettings
    store: Store
    queue: TurnQueue
    logs: RunLogs
    outbox: Outbox
    reconciler: Reconciler
    finalizer: TurnFinalizer
    routes: Sequence[web.RouteDef]


@asynccontextmanager
async def open_dependencies(settings: HistorySettings) -> AsyncIterator[Dependencies]:
    """Nothing needs to be reachable: each part waits for its store by itself. On leaving, writes under way are finished."""
    queue = TurnQueue.connect(settings.queue_redis_url)
    try:
        async with (
            Store(settings.mongodb_uri, settings.mongodb_database) as store,
            RunLogs(settings.stream_urls, keep_s=settings.log_keep_s) as logs,
        ):
            contexts = Contexts(store)
            finalizer = TurnFinalizer(store, queue, logs, contexts, settings)
            async with (
                Outbox(queue, finalizer) as outbox,
                Reconciler(store, queue, outbox, finalizer, settings) as reconciler,
            ):
                yield Dependencies(
                    settings=settings,
                    store=store,
                    queue=queue,
                    logs=logs,
                    outbox=outbox,
                    reconciler=reconciler,
                    finalizer=finalizer,
                    routes=_routes(store, queue, logs, contexts, finalizer, settings),
                )
    finally:
        await queue.aclose()


def _routes(
    store: Store,
    queue: TurnQueue,
    logs: RunLogs,
    contexts: Contexts,
    finalizer: TurnFinalizer,
    settings: HistorySettings,
) -> list[web.RouteDef]:
    agents = Agents(store, Knowledge(store))
    sessions = Sessions(store, agents, finalizer)
    nouns = (
        Keys(store),
        agents,
        sessions,
        Transcript(store, sessions),
        Turns(store, agents, contexts, finalizer),
        Completions(store, logs, settings),
        Claims(store, queue, agents, contexts, finalizer, settings),
    )
    return [route for noun in nouns for route in noun.routes()]


def create_app(dependencies: Dependencies) -> web.Application:
    async def redis_answers() -> None:
        await dependencies.queue.ping()
        await dependencies.logs.ping()

    token = dependencies.settings.internal_token.get_secret_value()
    app = web.Application(
        middlewares=[request_middleware, require_token(token), timed, failures], client_max_size=BODY_LIMIT
    )
    app.add_routes([*dependencies.routes, *health_routes({"mongodb": dependencies.store.ping, "redis": redis_answers})])
    return app


@web.middleware
async def failures(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What the stores raise, as clients are told it. MongoDB's outages are ApiErrors already."""
    try:
        return await handler(request)
    except Unstorable:
        raise ApiError(Code.PAYLOAD_TOO_LARGE, "The document is too large to be stored.") from None
    except ConnectionResetError:
        raise
    except (RedisError, OSError) as error:
        log.warning("redis_unreachable", error=type(error).__name__)
        raise ApiError(Code.DEPENDENCY_UNAVAILABLE, "The queue does not answer.") from None


@web.middleware
async def timed(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Counts what a call takes, and how much of that it waits for MongoDB, whatever comes of it."""
    started = time.monotonic()
    with counted_waits() as waits:
        try:
            return await handler(request)
        finally:
            took_s = time.monotonic() - started
            # Once the answer is out.
            asyncio.get_running_loop().call_soon(_observe, route_name(request), took_s, waits.total_s)


def _observe(route: str, took_s: float, waited_s: float) -> None:
    REQUEST_SECONDS.labels(route).observe(took_s)
    MONGODB_SECONDS.labels(route).observe(waited_s)
