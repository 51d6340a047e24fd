"""A history process: its dependencies, built in one place, and the internal API over them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from services.history.agents.agents import Agents
from services.history.agents.drafts import Drafts
from services.history.agents.publishing import Publishing
from services.history.agents.versions import Versions
from services.history.api.nouns import NOUNS, Nouns
from services.history.api.routes import ROUTES
from services.history.audit.records import Audit
from services.history.budgets.budgets import Budgets
from services.history.budgets.gate import BudgetGate
from services.history.budgets.limits import Limits
from services.history.checks.check_turns import CheckTurns
from services.history.checks.judge import JUDGE_ID, judge_of
from services.history.checks.publish_gate import PublishGate
from services.history.checks.runner import Runner
from services.history.checks.runs import Runs
from services.history.checks.suites import Suites
from services.history.erasures.backfills import completion_end_users
from services.history.erasures.end_users import EndUserErasures
from services.history.erasures.holdings import Holdings
from services.history.erasures.retention import Retention
from services.history.keys.api_keys import ApiKeys
from services.history.keys.bootstrap import BootstrapKey
from services.history.keys.key_lists import KeyLists
from services.history.knowledge.blobs import BlobStore
from services.history.knowledge.index_queue import IndexQueue
from services.history.knowledge.ingest_queue import IngestQueue
from services.history.knowledge.passages import Passages
from services.history.knowledge.source_erasure import SourceErasure
from services.history.knowledge.sources import Sources
from services.history.knowledge.vector_rows import VectorRows
from services.history.knowledge.vectors import Vectors
from services.history.knowledge.version_indexes import VersionIndexes
from services.history.knowledge.version_sources import VersionSources
from services.history.middlewares import failures, timed
from services.history.mongo.client import Database
from services.history.reconcile.housekeeping import Housekeeping
from services.history.reconcile.outbox import Outbox
from services.history.reconcile.parking import Parking
from services.history.reconcile.reconciler import Reconciler
from services.history.sessions.backfills import searched_turns, session_labels
from services.history.sessions.search import TranscriptSearch
from services.history.sessions.session_turns import SessionTurnPages
from services.history.sessions.sessions import Sessions
from services.history.sessions.transcript import Transcript
from services.history.sessions.transcript_words import TranscriptWords
from services.history.settings import HistorySettings
from services.history.turns.admission import Admission
from services.history.turns.attempts import Attempts
from services.history.turns.claims import Claims
from services.history.turns.completions import Completions
from services.history.turns.context import Contexts
from services.history.turns.erasure import Erasure
from services.history.turns.feedback import FeedbackOfTurns
from services.history.turns.finalize import TurnFinalizer
from services.history.turns.gaps import Gaps
from services.history.turns.lost_attempts import LostAttempts
from services.history.turns.places import Places
from services.history.turns.responses import Responses
from services.history.turns.turns import Turns
from services.history.usage.ledger import Ledger
from services.history.usage.reports import UsageReports
from services.history.widget.widgets import Widgets
from services.history.workspaces.deletion import WorkspaceDeletion
from services.history.workspaces.workspaces import Workspaces
from shared.budgets.store import BudgetStore
from shared.key_notices import KeyNotices
from shared.knowledge_notices import KnowledgeNotices
from shared.log import get_logger
from shared.run_log.reader import RunLogs
from shared.secrets import SecretBox
from shared.tasks import BackgroundLoops, loops_ready
from shared.turn_queue.queue import TurnQueue
from shared.web.health import health_routes
from shared.web.middleware import callers_request, request_middleware, require_token

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

    @property
    def loops(self) -> tuple[BackgroundLoops, ...]:
        return self.outbox.loops, self.reconciler.loops


@asynccontextmanager
async def open_dependencies(settings: HistorySettings) -> AsyncIterator[Dependencies]:
    """No store needs to be reachable: each part waits for its own. On leaving, writes under way are finished."""
    queue = TurnQueue.connect(settings.queue_redis_url)
    try:
        async with (
            Database(settings.mongodb_uri, settings.mongodb_database) as database,
            RunLogs(settings.stream_urls, keep_s=settings.log_keep_s) as logs,
            KeyNotices(settings.stream_urls[0]) as notices,
            KnowledgeNotices(settings.stream_urls[0]) as knowledge_notices,
        ):
            places = Places(database, queue, settings)
            ledger, limits = Ledger(database), Limits(database)
            gate = BudgetGate(database, BudgetStore(queue), limits, ledger)
            contexts, versions = Contexts(database), _versions(database, settings)
            lost = LostAttempts(database, logs, versions, contexts, settings.prices)
            finalizer = TurnFinalizer(database, queue, logs, contexts, places, gate, lost, settings.prices)
            erasure = Erasure(database, queue, logs, finalizer, ledger, settings)
            nouns = _nouns(
                database,
                queue,
                logs,
                notices,
                knowledge_notices,
                versions,
                finalizer,
                erasure,
                ledger,
                limits,
                gate,
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
                ledger.reconcile,
                gate.reconcile,
                nouns.budgets.reconcile,
                nouns.ingest.reconcile,
                nouns.sources.reconcile,
                session_labels(database).reconcile,
                searched_turns(database).reconcile,
                completion_end_users(database).reconcile,
                nouns.indexes.reconcile,
                TranscriptWords(database).reconcile,
            )
            async with (
                Outbox(queue, finalizer, Parking(database, queue, finalizer)) as outbox,
                Reconciler(
                    database,
                    queue,
                    outbox,
                    finalizer,
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
                )
    finally:
        await queue.aclose()


def _nouns(
    database: Database,
    queue: TurnQueue,
    logs: RunLogs,
    notices: KeyNotices,
    knowledge_notices: KnowledgeNotices,
    versions: Versions,
    finalizer: TurnFinalizer,
    erasure: Erasure,
    ledger: Ledger,
    limits: Limits,
    gate: BudgetGate,
    settings: HistorySettings,
) -> Nouns:
    box = SecretBox(settings.secret_keys)
    agents = Agents(database, box)
    passages = Passages(database)
    blobs = _blobs(database, settings)
    version_sources = VersionSources(database, passages)
    judge = judge_of(settings.checks_judge_upstream, settings.checks_judge_model)
    audit = Audit(database)
    sessions = Sessions(database, agents, versions, finalizer, erasure, audit)
    vector_rows = VectorRows(database)
    indexes = VersionIndexes(database, blobs, knowledge_notices, vector_rows)
    source_erasure = SourceErasure(database, passages, blobs, audit, indexes, vector_rows)
    contexts = finalizer.contexts
    workspaces = Workspaces(database, audit, notices)
    suites = Suites(database, agents, audit, has_judge=judge is not None)
    runs = Runs(database, agents, versions, suites, settings)
    check_turns = CheckTurns(database, queue, versions, finalizer, judge, settings)
    budgets = Budgets(database, agents, audit, BudgetStore(queue), limits, ledger, settings.prices)
    return Nouns(
        workspaces=workspaces,
        keys=ApiKeys(database, agents, workspaces, audit, notices),
        key_lists=KeyLists(database, agents, audit, notices),
        agents=agents,
        drafts=Drafts(database, agents, audit, box, settings.upstream_names, (sessions.end_all, indexes.erase_unused)),
        versions=versions,
        publishing=Publishing(
            database, agents, passages, version_sources, audit, (indexes.is_ready, PublishGate(database, runs).is_ready)
        ),
        widgets=Widgets(database, agents, audit, box),
        suites=suites,
        check_runs=runs,
        runner=Runner(database, agents, check_turns, settings),
        audit=audit,
        sources=Sources(database, agents.require, blobs, audit, source_erasure),
        ingest=IngestQueue(database, passages),
        indexes=indexes,
        vectors=Vectors(database, indexes, vector_rows),
        index_queue=IndexQueue(database, knowledge_notices),
        sessions=sessions,
        transcript=Transcript(database, sessions),
        session_turns=SessionTurnPages(database, sessions),
        search=TranscriptSearch(database, sessions),
        admission=Admission(database, versions, contexts, finalizer.places, gate, settings.prices),
        turns=Turns(database, finalizer),
        claims=Claims(database, queue, versions, contexts, finalizer, settings),
        attempts=Attempts(database, queue, finalizer, erasure, settings),
        completions=Completions(database, logs, audit, settings),
        responses=Responses(database, logs, contexts, audit),
        gaps=Gaps(database),
        feedback=FeedbackOfTurns(database),
        end_user_erasures=EndUserErasures(database, sessions, erasure, ledger, budgets, audit),
        holdings=Holdings(database, audit),
        retention=Retention(database, versions, sessions, erasure),
        ledger=ledger,
        budgets=budgets,
        usage=UsageReports(ledger, settings.prices),
    )


def _versions(database: Database, settings: HistorySettings) -> Versions:
    agents, passages = Agents(database, SecretBox(settings.secret_keys)), Passages(database)
    judge = judge_of(settings.checks_judge_upstream, settings.checks_judge_model)
    internal = {JUDGE_ID: judge.config} if judge else None
    return Versions(database, agents, passages, VersionSources(database, passages), internal)


def _blobs(database: Database, settings: HistorySettings) -> BlobStore:
    """Raises ModuleNotFoundError if an S3 bucket is named and obstore is missing."""
    if not settings.s3_bucket:
        return database.blobs
    # An extra (requirements-s3): a history without a bucket neither needs nor loads it.
    from services.history.knowledge.s3_blobs import s3_blobs_of

    return s3_blobs_of(settings)


def create_app(dependencies: Dependencies) -> web.Application:
    async def redis_answers() -> None:
        await dependencies.queue.ping()
        await dependencies.logs.ping()

    async def loops_run() -> None:
        await loops_ready(*dependencies.loops)

    token = dependencies.settings.internal_token.get_secret_value()
    middlewares = [request_middleware, require_token(token), callers_request, timed, failures]
    app = web.Application(middlewares=middlewares, client_max_size=BODY_LIMIT)
    app[NOUNS] = dependencies.nouns
    checks = {"mongodb": dependencies.database.ping, "redis": redis_answers, "loops": loops_run}
    app.add_routes([*ROUTES, *health_routes(checks)])
    return app
