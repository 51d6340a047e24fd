"""What the gateway must know of an agent version to judge a chat completion.

Versions are immutable, so an answer is kept.
"""

import asyncio
from collections import OrderedDict
from typing import Final, NamedTuple

from shared.contracts.errors import ApiError
from shared.history_client import HistoryClient

KNOWN_VERSIONS: Final = 1000
PATIENCE_S: Final = 0.5


class _Rules(NamedTuple):
    """`caller_parameters` are the generation parameters that callers may set; None: all of them."""

    caller_parameters: frozenset[str] | None
    has_instructions: bool


class AgentRules:
    def __init__(self, history: HistoryClient) -> None:
        self._history = history
        self._known: OrderedDict[tuple[str, str, int], _Rules] = OrderedDict()

    async def refused(self, workspace: str, agent_id: str, number: int, parameters: set[str]) -> list[str]:
        """The parameters that this version does not take from callers, sorted.

        The worker enforces the rule; this only informs the caller. If history does not answer in time, the list is
        empty.
        """
        if not parameters:
            return []
        try:
            async with asyncio.timeout(PATIENCE_S):
                allowed = (await self._rules(workspace, agent_id, number)).caller_parameters
        except (ApiError, TimeoutError):
            return []
        return [] if allowed is None else sorted(parameters - allowed)

    async def has_instructions(self, workspace: str, agent_id: str, number: int) -> bool:
        """Raises ApiError when history does not answer."""
        return (await self._rules(workspace, agent_id, number)).has_instructions

    async def _rules(self, workspace: str, agent_id: str, number: int) -> _Rules:
        key = (workspace, agent_id, number)
        if key not in self._known:
            config = (await self._history.agent_version(workspace, agent_id, number)).config
            names = config.caller_parameters
            self._known[key] = _Rules(
                None if names is None else frozenset(names), has_instructions=bool(config.instructions.strip())
            )
            if len(self._known) > KNOWN_VERSIONS:
                self._known.popitem(last=False)
        return self._known[key]
