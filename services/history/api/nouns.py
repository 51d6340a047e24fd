"""What the handlers call: the rules of each noun, built once per process."""

from dataclasses import dataclass
from typing import Final

from aiohttp import web

from services.history.agents.agents import Agents
from services.history.agents.drafts import Drafts
from services.history.agents.publishing import Publishing
from services.history.agents.versions import Versions
from services.history.audit.records import Audit
from services.history.budgets.budgets import Budgets
from services.history.checks.runner import Runner
from services.history.checks.runs import Runs
from services.history.checks.suites import Suites
from services.history.erasures.end_users import EndUserErasures
from services.history.erasures.holdings import Holdings
from services.history.erasures.retention import Retention
from services.history.keys.api_keys import ApiKeys
from services.history.keys.key_lists import KeyLists
from services.history.knowledge.abandoned import AbandonedKnowledge
from services.history.knowledge.index_queue import IndexQueue
from services.history.knowledge.ingest_queue import IngestQueue
from services.history.knowledge.sources import Sources
from services.history.knowledge.vectors import Vectors
from services.history.knowledge.version_indexes import VersionIndexes
from services.history.sessions.search import TranscriptSearch
from services.history.sessions.session_turns import SessionTurnPages
from services.history.sessions.sessions import Sessions
from services.history.sessions.transcript import Transcript
from services.history.turns.admission import Admission
from services.history.turns.attempts import Attempts
from services.history.turns.claims import Claims
from services.history.turns.completions import Completions
from services.history.turns.feedback import FeedbackOfTurns
from services.history.turns.gaps import Gaps
from services.history.turns.responses import Responses
from services.history.turns.turns import Turns
from services.history.usage.ledger import Ledger
from services.history.usage.reports import UsageReports
from services.history.webhooks.deliveries import Deliveries
from services.history.webhooks.webhooks import Webhooks
from services.history.widget.widgets import Widgets
from services.history.workspaces.workspaces import Workspaces


@dataclass(frozen=True, kw_only=True, slots=True)
class Nouns:
    """`search` None: this deployment does not search transcripts."""

    workspaces: Workspaces
    keys: ApiKeys
    key_lists: KeyLists
    agents: Agents
    drafts: Drafts
    versions: Versions
    publishing: Publishing
    widgets: Widgets
    audit: Audit
    suites: Suites
    check_runs: Runs
    runner: Runner
    sources: Sources
    abandoned: AbandonedKnowledge
    ingest: IngestQueue
    indexes: VersionIndexes
    vectors: Vectors
    index_queue: IndexQueue
    sessions: Sessions
    transcript: Transcript
    session_turns: SessionTurnPages
    search: TranscriptSearch | None
    admission: Admission
    turns: Turns
    claims: Claims
    attempts: Attempts
    completions: Completions
    responses: Responses
    gaps: Gaps
    feedback: FeedbackOfTurns
    end_user_erasures: EndUserErasures
    holdings: Holdings
    retention: Retention
    ledger: Ledger
    budgets: Budgets
    usage: UsageReports
    webhooks: Webhooks
    deliveries: Deliveries


NOUNS: Final = web.AppKey("nouns", Nouns)


def nouns(request: web.Request) -> Nouns:
    return request.app[NOUNS]
