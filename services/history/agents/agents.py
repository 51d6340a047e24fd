"""Agents: each has a draft, and the number of its published version. `versions.py` freezes drafts."""

from datetime import UTC, datetime
from typing import Final

import orjson

from services.history.mongo.client import Database
from services.history.mongo.dialect import Fields
from services.history.mongo.errors import Duplicate
from services.history.mongo.filters import Document, Where, above, present
from shared.contracts.agents import Agent, AgentConfig
from shared.contracts.errors import ApiError, Code

_WITHOUT_DRAFT: Final[Fields] = {"draft": 0}


class Agents:
    """Configurations are stored as JSON text: a tool's schema has member names that MongoDB does not accept."""

    def __init__(self, database: Database) -> None:
        self._agents = database.agents

    async def put(self, workspace: str, agent_id: str, config: AgentConfig) -> Agent:
        """Creates the agent or replaces its draft."""
        where = {"_id": agent_key(workspace, agent_id)}
        changed = {"name": config.name, "draft": frozen(config)}
        created: Document = {
            **where,
            "workspace": workspace,
            "agentId": agent_id,
            **changed,
            "createdAt": datetime.now(UTC),
        }
        # Not an upsert: of two that run at once, one can fail.
        if not await self._agents.update(where, {"$set": changed}):
            try:
                await self._agents.insert(created)
            except Duplicate:
                await self._agents.update(where, {"$set": changed})
        return await self.find(workspace, agent_id)

    async def find(self, workspace: str, agent_id: str) -> Agent:
        """Raises `agent_not_found`."""
        return _agent(await self.document(workspace, agent_id, _WITHOUT_DRAFT))

    async def published(self, workspace: str, after: str | None, limit: int) -> tuple[list[Agent], str | None]:
        """Up to `limit` published agents beyond the id `after`, in the order of their ids, and the next start."""
        where: Where = {"workspace": workspace, "publishedVersion": present()}
        if after is not None:
            where = {**where, "agentId": above(after)}
        rows = await self._agents.many(where, fields=_WITHOUT_DRAFT, order=[("agentId", 1)], limit=limit + 1)
        agents = [_agent(row) for row in rows[:limit]]
        return agents, agents[-1].id if len(rows) > limit else None

    async def published_one(self, workspace: str, agent_id: str) -> Agent:
        """Raises `agent_not_found`, also for an agent that was never published."""
        agent = await self.find(workspace, agent_id)
        if agent.published_version is None:
            raise ApiError(Code.AGENT_NOT_FOUND)
        return agent

    async def document(self, workspace: str, agent_id: str, fields: Fields | None = None) -> Document:
        """The stored agent. Raises `agent_not_found`."""
        agent = await self._agents.one({"_id": agent_key(workspace, agent_id)}, fields)
        if agent is None:
            raise ApiError(Code.AGENT_NOT_FOUND)
        return agent

    async def set_published(self, agent: Document, number: int) -> None:
        """Never lowers the number: of two publishings that run at once, the later version stays published."""
        await self._agents.update({"_id": agent["_id"]}, {"$max": {"publishedVersion": number}})


def agent_key(workspace: str, agent_id: str) -> str:
    """An agent document's id. It contains the workspace, so that two workspaces may use the same agent id."""
    return f"{workspace}:{agent_id}"


def frozen(config: AgentConfig) -> str:
    return orjson.dumps(config.wire(), option=orjson.OPT_SORT_KEYS).decode()


def _agent(row: Document) -> Agent:
    return Agent.model_validate({**row, "id": row["agentId"]})
