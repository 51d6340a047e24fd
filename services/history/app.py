"""A history process: its dependencies, built in one place, and the internal API over them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from services.history.api.nouns import NOUNS, Nouns
from services.history.api.routes import ROUTES
from services.history.budgets.gate import BudgetGate
from services.history.budgets.limits import Limits
from services.history.erasures.backfills import completion_end_users
from services.history.keys.bootstrap import BootstrapKey
from services.history.knowledge.ingest_backlog import IngestBacklog
from services.history.middlewares import failures, timed
from services.history.mongo.client import Database
from services.history.reconcile.housekeeping import Housekeeping
from services.history.reconcile.outbox import Outbox
from services.history.reconcile.parking import Parking
from services.history.reconcile.reconciler import Reconciler
from services.history.reconcile.slipped_turns import SlippedTurns
from services.history.reconcile.stream_times import StreamTimes
from services.history.redis_servers import RedisServers
from services.history.sessions.backfills import searched_turns, session_labels
from services.history.sessions.transcript_words import TranscriptWords
from services.history.settings import HistorySettings
from services.history.turns.context import Contexts
from services.history.turns.erasure import Erasure
from services.history.turns.finalize import TurnFinalizer
from services.history.turns.lost_attempts import LostAttempts
from services.history.turns.places import Places
from services.history.turns.redis_erasure import RedisErasure
from services.history.turns.spoken_words import SpokenWords
from services.history.usage.ledger import Ledger
from services.history.webhooks.loops import WebhookLoops
from services.history.webhooks.relay import Relay
from services.history.webhooks.subscriptions import Subscriptions
from services.history.wiring import dispatcher_of, nouns_of, versions_of
from services.history.workspaces.deletion import WorkspaceDeletion
from shared.broker.shards import Shards
from shared.budgets.store import BudgetStore
from shared.key_notices import KeyNotices
from shared.knowledge_notices import KnowledgeNotices
from shared.log import get_logger
from shared.run_log.reader import RunLogs
from shared.tasks import BackgroundLoops, loops_ready
from shared.turn_queue.queue import TurnQueue
from shared.web.guarded_client import GuardedClient
from shared.web.health import health_routes
from shared.web.middleware import callers_request, request_middleware, require_certificate, require_token

log = get_logger()

# Internal callers send whole knowledge bases; the public limits are the gateway's.
BODY_LIMIT: Final = 64 * 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Dependencies:
    settings: HistorySettings
    database: Database
    queue: TurnQueue
    logs: RunLogs
    outbox: Outbox
    reconciler: Reconciler
    finalizer: TurnFinalizer
    gate: BudgetGate
    nouns: Nouns
    webhooks: WebhookLoops

    @property
    def loops(self) -> tuple[BackgroundLoops, ...]:
        return self.outbox.loops, self.reconciler.loops, self.webhooks.loops


@asynccontextmanager
async def open_dependencies(settings: HistorySettings) -> AsyncIterator[Dependencies]:
    """No store needs to be reachable: each part waits for its own. On leaving, writes under way are finished."""
    queue = TurnQueue.connect(settings.queue_redis_url)
    try:
        async with (
            Database(
                settings.mongodb_uri,
                settings.mongodb_database,
                driver=settings.mongodb_driver,
                transcript_search=settings.transcript_search,
            ) as database,
            RunLogs(settings.stream_shards, keep_s=settings.log_keep_s) as logs,
            KeyNotices(settings.stream_urls[0]) as notices,
            KnowledgeNotices(settings.stream_urls[0]) as knowledge_notices,
        ):
            places = Places(database, queue, settings)
            ledger, limits = Ledger(database), Limits(database)
            subscriptions = Subscriptions(database)
            gate = BudgetGate(database, BudgetStore(queue), limits, ledger, subscriptions)
            contexts, versions = Contexts(database), versions_of(database, settings)
            lost = LostAttempts(database, logs, versions, contexts, settings.prices)
            finalizer = TurnFinalizer(
                database,
                queue,
                logs,
                contexts,
                places,
                gate,
                lost,
                subscriptions,
                SpokenWords(searched=settings.transcript_search),
                settings.prices,
            )
            in_redis = RedisErasure(database, queue, logs, settings)
            erasure = Erasure(database, queue, finalizer, ledger, in_redis)
            nouns = nouns_of(
                database,
                queue,
                notices,
                knowledge_notices,
                versions,
                finalizer,
                erasure,
                ledger,
                limits,
                gate,
                subscriptions,
                settings,
            )
            repairs = (
                BootstrapKey(database, nouns.keys, settings).reconcile,
                nouns.workspaces.adopt,
                nouns.workspaces.reconcile,
                nouns.drafts.reconcile,
                nouns.suites.reconcile,
                nouns.runner.reconcile,
                nouns.publishing.reconcile,
                nouns.keys.reconcile,
                WorkspaceDeletion(database, erasure, erasers=[nouns.sources.erase_workspace]).reconcile,
                nouns.sessions.reconcile,
                nouns.completions.reconcile,
                nouns.end_user_erasures.reconcile,
                nouns.retention.reconcile,
                in_redis.reconcile,
                StreamTimes(queue, Shards(settings.stream_shards)).note,
                ledger.reconcile,
                gate.reconcile,
                nouns.budgets.reconcile,
                nouns.ingest.reconcile,
                IngestBacklog(database).measure,
                nouns.sources.reconcile,
                nouns.abandoned.reconcile,
                session_labels(database).reconcile,
                completion_end_users(database).reconcile,
                nouns.indexes.reconcile,
                nouns.webhooks.reconcile,
                *(
                    [searched_turns(database).reconcile, TranscriptWords(database).reconcile]
                    if settings.transcript_search
                    else ()
                ),
            )
            async with (
                GuardedClient(settings.webhook_policy) as receivers,
                WebhookLoops(
                    subscriptions,
                    Relay(database, subscriptions, nouns.deliveries),
                    dispatcher_of(database, subscriptions, nouns, receivers, settings),
                ) as webhooks,
                Outbox(queue, finalizer, Parking(database, queue, finalizer)) as outbox,
                Reconciler(
                    database,
                    queue,
                    outbox,
                    finalizer,
                    SlippedTurns(database, finalizer),
                    Housekeeping(database, outbox, erasure, settings, repairs),
                    gate,
                    settings,
                ) as reconciler,
            ):
                yield Dependencies(
                    settings=settings,
                    database=database,
                    queue=queue,
                    logs=logs,
                    outbox=outbox,
                    reconciler=reconciler,
                    finalizer=finalizer,
                    gate=gate,
                    nouns=nouns,
                    webhooks=webhooks,
                )
    finally:
        await queue.aclose()


def create_app(dependencies: Dependencies) -> web.Application:
    settings = dependencies.settings
    servers = RedisServers((settings.queue_redis_url, *settings.stream_urls))

    async def redis_answers() -> None:
        await dependencies.queue.ping()
        await dependencies.logs.ping()
        await servers.suitable()

    async def loops_run() -> None:
        await loops_ready(*dependencies.loops)

    certified = (require_certificate,) if dependencies.settings.internal_tls is not None else ()
    middlewares = [
        request_middleware,
        *certified,
        require_token(*settings.accepted_tokens),
        callers_request,
        timed,
        failures,
    ]
    app = web.Application(middlewares=middlewares, client_max_size=BODY_LIMIT)
    app[NOUNS] = dependencies.nouns
    checks = {"mongodb": dependencies.database.ping, "redis": redis_answers, "loops": loops_run}
    app.add_routes([*ROUTES, *health_routes(checks)])
    return app
