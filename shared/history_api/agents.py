"""Agents and their versions."""

from collections.abc import Iterable
from typing import Final

from shared.contracts.agents import Agent, AgentConfig, AgentVersion, Passage
from shared.history_api.transport import Transport

AGENTS_PAGE: Final = 1000


class AgentCalls(Transport):
    async def put_agent(self, workspace: str, agent_id: str, config: AgentConfig) -> Agent:
        """Creates the agent or replaces its draft."""
        return Agent.model_validate(
            await self._call("PUT", f"/workspaces/{workspace}/agents/{agent_id}", config.wire())
        )

    async def publish_agent(self, workspace: str, agent_id: str, passages: Iterable[Passage]) -> AgentVersion:
        """Freezes the draft and the passages under the next number.

        The same content again gives the version that stands.
        """
        body = {"passages": [passage.wire() for passage in passages]}
        return AgentVersion.model_validate(await self._post(f"/workspaces/{workspace}/agents/{agent_id}/publish", body))

    async def published_agents(self, workspace: str) -> list[Agent]:
        """All of them, read in pages, in the order of their ids."""
        agents: list[Agent] = []
        query = {"limit": str(AGENTS_PAGE)}
        while True:
            page = await self._page(f"/workspaces/{workspace}/agents", query)
            agents += [Agent.model_validate(agent) for agent in page["items"]]
            if page["nextCursor"] is None:
                return agents
            query["cursor"] = page["nextCursor"]

    async def published_agent(self, workspace: str, agent_id: str) -> Agent:
        """Raises `agent_not_found`, also for one that was never published."""
        return Agent.model_validate(await self._get(f"/workspaces/{workspace}/agents/{agent_id}"))

    async def agent_version(self, workspace: str, agent_id: str, number: int) -> AgentVersion:
        return AgentVersion.model_validate(
            await self._get(f"/workspaces/{workspace}/agents/{agent_id}/versions/{number}")
        )

    async def passages(self, workspace: str, agent_id: str, number: int) -> list[Passage]:
        rows = await self._get(f"/workspaces/{workspace}/agents/{agent_id}/versions/{number}/passages")
        return [Passage.model_validate(row) for row in rows]
