"""The rules of each noun, built in one place from what a process has opened."""

from services.history.agents.agents import Agents
from services.history.agents.drafts import Drafts
from services.history.agents.publishing import Publishing
from services.history.agents.versions import Versions
from services.history.api.nouns import Nouns
from services.history.audit.records import Audit
from services.history.budgets.budgets import Budgets
from services.history.budgets.gate import BudgetGate
from services.history.budgets.limits import Limits
from services.history.budgets.shown import ShownBudgets
from services.history.checks.check_turns import CheckTurns
from services.history.checks.judge import JUDGE_ID, judge_of
from services.history.checks.publish_gate import PublishGate
from services.history.checks.runner import Runner
from services.history.checks.runs import Runs
from services.history.checks.suites import Suites
from services.history.erasures.end_users import EndUserErasures
from services.history.erasures.holdings import Holdings
from services.history.erasures.retention import Retention
from services.history.keys.api_keys import ApiKeys
from services.history.keys.key_lists import KeyLists
from services.history.knowledge.abandoned import AbandonedKnowledge
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
from services.history.mongo.client import Database
from services.history.sessions.search import TranscriptSearch
from services.history.sessions.session_turns import SessionTurnPages
from services.history.sessions.sessions import Sessions
from services.history.sessions.transcript import Transcript
from services.history.settings import HistorySettings
from services.history.turns.admission import Admission
from services.history.turns.attempts import Attempts
from services.history.turns.claims import Claims
from services.history.turns.completions import Completions
from services.history.turns.erasure import Erasure
from services.history.turns.feedback import FeedbackOfTurns
from services.history.turns.finalize import TurnFinalizer
from services.history.turns.gaps import Gaps
from services.history.turns.redaction import Redactor
from services.history.turns.responses import Responses
from services.history.turns.turns import Turns
from services.history.usage.billing import Billing
from services.history.usage.ledger import Ledger
from services.history.usage.reports import UsageReports
from services.history.webhooks.deliveries import Deliveries
from services.history.webhooks.dispatcher import Dispatcher, rest_of
from services.history.webhooks.endpoint_health import EndpointHealth
from services.history.webhooks.sender import Sender
from services.history.webhooks.subscriptions import Subscriptions
from services.history.webhooks.webhooks import Webhooks
from services.history.widget.widgets import Widgets
from services.history.workspaces.workspaces import Workspaces
from shared.budgets.store import BudgetStore
from shared.key_notices import KeyNotices
from shared.knowledge_notices import KnowledgeNotices
from shared.secrets import SecretBox
from shared.turn_queue.queue import TurnQueue
from shared.web.guarded_client import GuardedClient


def nouns_of(
    database: Database,
    queue: TurnQueue,
    notices: KeyNotices,
    knowledge_notices: KnowledgeNotices,
    versions: Versions,
    finalizer: TurnFinalizer,
    erasure: Erasure,
    ledger: Ledger,
    limits: Limits,
    gate: BudgetGate,
    subscriptions: Subscriptions,
    settings: HistorySettings,
) -> Nouns:
    box = SecretBox(settings.secret_keys)
    agents = Agents(database, box)
    passages = Passages(database)
    blobs = blobs_of(database, settings)
    version_sources = VersionSources(database, passages)
    judge = judge_of(settings.checks_judge_upstream, settings.checks_judge_model)
    audit = Audit(database)
    sessions = Sessions(database, agents, versions, finalizer, erasure, audit, subscriptions)
    vector_rows = VectorRows(database)
    indexes = VersionIndexes(database, blobs, knowledge_notices, vector_rows)
    source_erasure = SourceErasure(database, passages, blobs, audit, indexes, agents.require)
    sources = Sources(database, agents.require, blobs, audit, source_erasure, settings.tool_policy)
    contexts, redactor = finalizer.contexts, Redactor(settings.redaction_hook())
    workspaces = Workspaces(database, audit, notices)
    suites = Suites(database, agents, audit, has_judge=judge is not None)
    runs = Runs(database, agents, versions, suites, settings)
    check_turns = CheckTurns(database, queue, versions, finalizer, judge, settings)
    billing = Billing(ledger)
    deliveries = Deliveries(database, settings.webhook_deliveries_keep_s)
    budgets = Budgets(
        database, agents, audit, BudgetStore(queue), limits, ShownBudgets(ledger, billing, settings.prices)
    )
    publishing = Publishing(
        database,
        agents,
        passages,
        version_sources,
        audit,
        subscriptions,
        (indexes.is_ready, PublishGate(database, runs).is_ready),
    )
    return Nouns(
        workspaces=workspaces,
        keys=ApiKeys(database, agents, workspaces, audit, notices),
        key_lists=KeyLists(database, agents, audit, notices),
        agents=agents,
        drafts=Drafts(
            database,
            agents,
            audit,
            box,
            settings.upstream_names,
            (sessions.end_all, sources.purge_of_agent, indexes.erase_unused),
            settings.tool_policy,
        ),
        versions=versions,
        publishing=publishing,
        widgets=Widgets(database, agents, audit, box),
        suites=suites,
        check_runs=runs,
        runner=Runner(database, agents, check_turns, settings, publishing.resume),
        audit=audit,
        sources=sources,
        abandoned=AbandonedKnowledge(database, passages, blobs, indexes, vector_rows),
        ingest=IngestQueue(database, passages, subscriptions),
        indexes=indexes,
        vectors=Vectors(database, indexes, vector_rows),
        index_queue=IndexQueue(database, knowledge_notices),
        sessions=sessions,
        transcript=Transcript(database, sessions),
        session_turns=SessionTurnPages(database, sessions),
        search=TranscriptSearch(database, sessions) if settings.transcript_search else None,
        admission=Admission(database, versions, contexts, finalizer.places, gate, redactor, settings.prices),
        turns=Turns(database, finalizer),
        claims=Claims(database, queue, versions, contexts, finalizer, settings),
        attempts=Attempts(database, queue, finalizer, erasure, settings),
        completions=Completions(database, erasure.in_redis, ledger, audit, settings),
        responses=Responses(database, erasure.in_redis, contexts, audit),
        gaps=Gaps(database),
        feedback=FeedbackOfTurns(database, subscriptions),
        end_user_erasures=EndUserErasures(database, sessions, erasure, ledger, budgets, audit),
        holdings=Holdings(database, audit),
        retention=Retention(database, versions, sessions, erasure),
        ledger=ledger,
        budgets=budgets,
        usage=UsageReports(ledger, billing, settings.prices),
        webhooks=Webhooks(database, audit, subscriptions, deliveries, box, settings.webhook_policy),
        deliveries=deliveries,
    )


def dispatcher_of(
    database: Database,
    subscriptions: Subscriptions,
    nouns: Nouns,
    receivers: GuardedClient,
    settings: HistorySettings,
) -> Dispatcher:
    rest = rest_of(settings.webhook_retry_s)
    health = EndpointHealth(database, nouns.audit, settings.webhook_disable_after_s, rest)
    box = SecretBox(settings.secret_keys)
    sender = Sender(subscriptions, nouns.deliveries, health, box, receivers, settings)
    return Dispatcher(subscriptions, nouns.deliveries, sender, health)


def versions_of(database: Database, settings: HistorySettings) -> Versions:
    agents, passages = Agents(database, SecretBox(settings.secret_keys)), Passages(database)
    judge = judge_of(settings.checks_judge_upstream, settings.checks_judge_model)
    internal = {JUDGE_ID: judge.config} if judge else None
    return Versions(database, agents, passages, VersionSources(database, passages), internal)


def blobs_of(database: Database, settings: HistorySettings) -> BlobStore:
    """Raises ModuleNotFoundError if an S3 bucket is named and obstore is missing."""
    if not settings.s3_bucket:
        return database.blobs
    # An extra (requirements-s3): a history without a bucket neither needs nor loads it.
    from services.history.knowledge.s3_blobs import s3_blobs_of

    return s3_blobs_of(settings)
