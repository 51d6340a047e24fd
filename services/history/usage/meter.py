"""Tokens and cost of ended turns as metrics by agent and model.

Agents and models are named by their authors, so each process keeps to the first ones that it meets; what comes after
them counts under `other`. Sums that must be exact are the ledger's.
"""

from collections.abc import Iterable
from typing import Final

from services.history.metrics import AGENT_COST, AGENT_TOKENS
from services.history.mongo.filters import Document
from shared.contracts.usage import NANO

AGENTS: Final = 50
# Pairs of an agent and a model: an agent has few models at a time, and many in the course of months.
SERIES: Final = 200
MAX_NAME: Final = 100
OTHER: Final = "other"


class UsageMeter:
    def __init__(self, agents: int = AGENTS, series: int = SERIES) -> None:
        self._max_agents, self._max_series = agents, series
        self._agents: set[str] = set()
        self._series: set[tuple[str, str]] = set()

    def count(self, agent_id: str, uses: Iterable[Document]) -> None:
        """`uses` as a turn's document has them."""
        for use in uses:
            agent, model = self.labels(agent_id, f"{use['upstream']}/{use['model']}" if use.get("model") else OTHER)
            usage = use["usage"]
            AGENT_TOKENS.labels(agent, model, "prompt").inc(usage["promptTokens"])
            AGENT_TOKENS.labels(agent, model, "completion").inc(usage["completionTokens"])
            if "cost" in use:
                AGENT_COST.labels(agent, model).inc(use["cost"] / NANO)

    def labels(self, agent_id: str, model: str) -> tuple[str, str]:
        if agent_id not in self._agents:
            if len(self._agents) >= self._max_agents:
                return OTHER, OTHER
            self._agents.add(agent_id)
        pair = agent_id, model[:MAX_NAME]
        if pair not in self._series:
            if len(self._series) >= self._max_series:
                return agent_id, OTHER
            self._series.add(pair)
        return pair
