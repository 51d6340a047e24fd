"""Which generation parameters an agent version lets its callers set. Versions are immutable, so an answer is kept."""

import asyncio
from collections import OrderedDict
from typing import Final

from shared.contracts.errors import ApiError
from shared.history_client import HistoryClient

KNOWN_VERSIONS: Final = 1000
PATIENCE_S: Final = 0.5


class AgentRules:
    def __init__(self, history: HistoryClient) -> None:
        self._history = history
        self._known: OrderedDict[tuple[str, str, int], frozenset[str] | None] = OrderedDict()

    async def refused(self, workspace: str, agent_id: str, number: int, parameters: set[str]) -> list[str]:
        """Those of the parameters that this version does not take from callers, sorted.

        Only tells the caller what the worker decides by itself: when history does not answer, nothing is told.
        """
        if not parameters:
            return []
        try:
            async with asyncio.timeout(PATIENCE_S):
                allowed = await self._allowed(workspace, agent_id, number)
        except (ApiError, TimeoutError):
            return []
        return [] if allowed is None else sorted(parameters - allowed)

    async def _allowed(self, workspace: str, agent_id: str, number: int) -> frozenset[str] | None:
        key = (workspace, agent_id, number)
        if key not in self._known:
            version = await self._history.agent_version(workspace, agent_id, number)
            names = version.config.caller_parameters
            self._known[key] = None if names is None else frozenset(names)
            if len(self._known) > KNOWN_VERSIONS:
                self._known.popitem(last=False)
        return self._known[key]
