"""What the gateway must know of an agent version to judge a chat completion, and to show the agent to other programs.

Versions are immutable, so an answer is kept.
"""

import asyncio
from typing import Final, NamedTuple

from cachetools import LRUCache

from shared.contracts.agents import AgentConfig
from shared.contracts.errors import ApiError
from shared.history_client import HistoryClient

KNOWN_VERSIONS: Final = 1000
PATIENCE_S: Final = 0.5


class _Rules(NamedTuple):
    """`caller_parameters` are the generation parameters that callers may set; None: all of them."""

    caller_parameters: frozenset[str] | None
    has_instructions: bool
    shown: AgentConfig


# What makes a configuration large. It is not kept, and no caller is shown it.
_KEPT_BACK: Final = {"instructions": "", "tools": (), "guardrails": (), "parameters": {}}


class AgentRules:
    def __init__(self, history: HistoryClient) -> None:
        self._history = history
        self._known = LRUCache[tuple[str, str, int], _Rules](KNOWN_VERSIONS)

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

    async def shown(self, workspace: str, agent_id: str, number: int) -> AgentConfig:
        """The configuration without instructions, tools and guardrails. Raises ApiError when history is away."""
        return (await self._rules(workspace, agent_id, number)).shown

    async def _rules(self, workspace: str, agent_id: str, number: int) -> _Rules:
        key = (workspace, agent_id, number)
        rules = self._known.get(key)
        if rules is None:
            config = (await self._history.agent_version(workspace, agent_id, number)).config
            names = config.caller_parameters
            rules = self._known[key] = _Rules(
                None if names is None else frozenset(names),
                has_instructions=bool(config.instructions.strip()),
                shown=config.model_copy(update=_KEPT_BACK),
            )
        return rules
