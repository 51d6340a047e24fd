"""Agents: found, listed, and put by an operator. Their authors use `drafts.py`, and `publishing.py` freezes drafts."""

from datetime import UTC, datetime

from services.history.agents.documents import (
    AGENT_IDS,
    WITHOUT_DRAFT,
    agent_key,
    agent_of,
    config_of,
    default_slug,
    frozen,
)
from services.history.agents.draft_rules import redaction_faults
from services.history.agents.sealing import with_sealed_secrets
from services.history.audit.records import PENDING, audit_entry
from services.history.mongo.client import Database
from services.history.mongo.dialect import Fields
from services.history.mongo.errors import Duplicate
from services.history.mongo.filters import Document, Where, present
from shared.contracts.agents import Agent, AgentConfig
from shared.contracts.errors import ApiError, Code
from shared.secrets import SecretBox
from shared.tool_secrets import has_secrets


class Agents:
    """Configurations are stored as JSON text: a tool's schema has member names that MongoDB does not accept."""

    def __init__(self, database: Database, box: SecretBox) -> None:
        self._agents = database.agents
        self._box = box

    async def put(self, workspace: str, agent_id: str, config: AgentConfig) -> Agent:
        """Creates the agent or replaces its draft.

        Raises `validation_failed` for a secret that cannot be stored, and for a pattern that cannot be run.
        """
        if faults := list(redaction_faults(config)):
            raise ApiError(Code.VALIDATION_FAILED, errors=faults)
        if has_secrets(config):
            row = await self._agents.one({"_id": agent_key(workspace, agent_id)}, {"draft": 1})
            config = with_sealed_secrets(config, self._box, workspace, config_of(row["draft"]) if row else None)
        where = {"_id": agent_key(workspace, agent_id)}
        now = datetime.now(UTC)
        changed = {"name": config.name, "draft": frozen(config), "updatedAt": now}
        created: Document = {
            **where,
            "workspace": workspace,
            "agentId": agent_id,
            **changed,
            "slug": f"{default_slug(config.name)}-{agent_id[-8:]}".lower().replace("_", "-"),
            "revision": 1,
            "createdAt": now,
            PENDING: [audit_entry("agent.created", agent_id, None)],
        }
        change = {"$set": changed, "$push": {PENDING: audit_entry("agent.updated", agent_id, None)}}
        # Not an upsert: of two that run at once, one can fail.
        if not await self._agents.update(where, change):
            try:
                await self._agents.insert(created)
            except Duplicate:
                await self._agents.update(where, change)
        return await self.find(workspace, agent_id)

    async def find(self, workspace: str, agent_id: str) -> Agent:
        """Raises `agent_not_found`."""
        return agent_of(await self.document(workspace, agent_id, WITHOUT_DRAFT))

    async def published(self, workspace: str, before: str | None, limit: int) -> tuple[list[Agent], str | None]:
        """Published agents, newest first, and the id to go on from."""
        where: Where = {"workspace": workspace, "deleted": None, "publishedVersion": present()}
        rows, following = await self._agents.page(where, AGENT_IDS, "desc", before, limit, WITHOUT_DRAFT)
        return [agent_of(row) for row in rows], following

    async def published_one(self, workspace: str, agent_id: str) -> Agent:
        """Raises `agent_not_found`, also for an agent that was never published."""
        agent = await self.find(workspace, agent_id)
        if agent.published_version is None:
            raise ApiError(Code.AGENT_NOT_FOUND)
        return agent

    async def document(self, workspace: str, agent_id: str, fields: Fields | None = None) -> Document:
        """The stored agent. Raises `agent_not_found`, also for one that was deleted."""
        agent = await self._agents.one({"_id": agent_key(workspace, agent_id), "deleted": None}, fields)
        if agent is None:
            raise ApiError(Code.AGENT_NOT_FOUND)
        return agent

    async def require(self, workspace: str, agent_id: str) -> None:
        """Raises `agent_not_found`."""
        await self.document(workspace, agent_id, {"_id": 1})

    async def is_there(self, workspace: str, agent_id: str) -> bool:
        where = {"_id": agent_key(workspace, agent_id), "deleted": None}
        return await self._agents.one(where, {"_id": 1}) is not None

    async def exists(self, workspace: str, agent_id: str) -> bool:
        """Also for one that was deleted."""
        return await self._agents.one({"_id": agent_key(workspace, agent_id)}, {"_id": 1}) is not None
