"""The internal API of history, as the gateway and the workers call it. Each call may be repeated without harm."""

from shared.history_api.agents import AgentCalls
from shared.history_api.checks import CheckCalls
from shared.history_api.completions import CompletionCalls
from shared.history_api.end_users import EndUserCalls
from shared.history_api.feedback import FeedbackCalls
from shared.history_api.gaps import GapCalls
from shared.history_api.indexes import IndexCalls
from shared.history_api.keys import KeyCalls
from shared.history_api.knowledge import KnowledgeCalls
from shared.history_api.sessions import SessionCalls
from shared.history_api.turns import TurnCalls
from shared.history_api.usage import UsageCalls
from shared.history_api.vectors import VectorCalls
from shared.history_api.webhooks import WebhookCalls
from shared.history_api.widget import WidgetCalls
from shared.history_api.workspaces import WorkspaceCalls


class HistoryClient(
    KeyCalls,
    AgentCalls,
    CheckCalls,
    KnowledgeCalls,
    IndexCalls,
    VectorCalls,
    SessionCalls,
    TurnCalls,
    CompletionCalls,
    WorkspaceCalls,
    GapCalls,
    EndUserCalls,
    UsageCalls,
    WidgetCalls,
    FeedbackCalls,
    WebhookCalls,
):
    """Typed calls over one connection pool.

    Raises ApiError with history's own code, or `dependency_unavailable` when no history answers. A call that could not
    be delivered, or whose answer was lost, is tried once at the next of `urls`; so a history that was just killed costs
    nothing.
    """
