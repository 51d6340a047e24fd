"""What a gateway is made of: built once in `app.py`, handed to every handler."""

import asyncio
from dataclasses import dataclass

from aiohttp import web

from services.gateway.agent_rules import AgentRules
from services.gateway.auth import KeyCache
from services.gateway.departures import Departures
from services.gateway.hub import Hub
from services.gateway.limits import Limits
from services.gateway.pulse import Pulse
from services.gateway.settings import GatewaySettings
from shared.history_client import HistoryClient
from shared.run_log import RunLogs
from shared.turn_queue import TurnQueue


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    settings: GatewaySettings
    history: HistoryClient
    queue: TurnQueue
    logs: RunLogs
    hub: Hub
    pulse: Pulse
    keys: KeyCache
    limits: Limits
    agents: AgentRules
    departures: Departures
    draining: asyncio.Event

    def drain(self) -> None:
        """No new work; every stream ends now, so that clients go on elsewhere."""
        self.draining.set()
        self.hub.drain()


PARTS = web.AppKey("parts", Parts)
