"""The parts of a worker process that running turns needs. They are built in `app.py`."""

from dataclasses import dataclass, field

from services.agent_worker.guardrails.hooks import Hooks
from services.agent_worker.knowledge.retriever import Retriever
from services.agent_worker.model.client import Models
from services.agent_worker.tools.kit import ToolKit
from services.agent_worker.turns.agent_versions import AgentCache
from shared.history_client import HistoryClient
from shared.redaction_hook import RedactionHook
from shared.run_log.writer import LogWriter
from shared.tasks import BackgroundLoops


@dataclass(frozen=True, kw_only=True, slots=True)
class Dependencies:
    """One of each per process."""

    history: HistoryClient
    models: Models
    tools: ToolKit
    hooks: Hooks
    retriever: Retriever
    logs: LogWriter
    agents: AgentCache
    redaction: RedactionHook = field(default_factory=RedactionHook)
    knowledge_loops: BackgroundLoops = field(default_factory=BackgroundLoops)
