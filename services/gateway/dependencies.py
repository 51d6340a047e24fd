"""The dependencies of a gateway process: built once in `app.py`, given to every handler."""

import asyncio
from dataclasses import dataclass

from services.gateway.completions.agent_rules import AgentRules
from services.gateway.edge.auth import Authenticator
from services.gateway.edge.challenges import Challenges
from services.gateway.edge.limits import GatewayLimits
from services.gateway.edge.visitor_tokens import VisitorTokens
from services.gateway.settings import GatewaySettings
from services.gateway.streaming.disconnects import DisconnectMonitor
from services.gateway.streaming.hub import Hub
from services.gateway.streaming.queue_age import QueueAge
from services.gateway.streaming.turn_status import SessionStatusBatcher, TurnStatusBatcher
from shared.history_client import HistoryClient
from shared.previews.exchange import PreviewExchange
from shared.run_log.reader import RunLogs
from shared.tasks import BackgroundLoops
from shared.turn_queue.queue import TurnQueue


@dataclass(frozen=True, kw_only=True, slots=True)
class Dependencies:
    settings: GatewaySettings
    history: HistoryClient
    queue: TurnQueue
    previews: PreviewExchange
    logs: RunLogs
    hub: Hub
    turn_status: TurnStatusBatcher
    session_status: SessionStatusBatcher
    authenticator: Authenticator
    visitors: VisitorTokens
    challenges: Challenges
    limits: GatewayLimits
    agents: AgentRules
    disconnects: DisconnectMonitor
    queue_age: QueueAge
    draining: asyncio.Event

    @property
    def loops(self) -> tuple[BackgroundLoops, ...]:
        """Every background loop of the process: it is supervised by the process, and `/readyz` covers it."""
        return self.hub.loops, self.disconnects.loops, self.queue_age.loops, self.limits.loops

    def drain(self) -> None:
        """Refuses new work and ends every stream, so that clients resume at another gateway."""
        self.draining.set()
        self.hub.drain()
