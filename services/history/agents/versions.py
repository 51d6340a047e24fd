"""Agent versions: numbered, frozen with their passages, and therefore cached."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import orjson
from cachetools import LRUCache

from services.history.agents.agents import Agents, agent_key
from services.history.knowledge.passages import Passages
from services.history.mongo.client import Database
from services.history.mongo.errors import Duplicate
from services.history.mongo.filters import Document
from shared.contracts.agents import AgentConfig, AgentVersion, Passage
from shared.contracts.errors import ApiError, Code

CACHED_VERSIONS: Final = 1000
DRAFT: Final = 0


class Versions:
    def __init__(self, database: Database, agents: Agents, passages: Passages) -> None:
        self._versions = database.agent_versions
        self._agents = agents
        self._passages = passages
        self._cache = LRUCache[str, AgentVersion](CACHED_VERSIONS)

    async def publish(self, workspace: str, agent_id: str, passages: Sequence[Passage]) -> AgentVersion:
        """Freezes the draft and the passages under the next number. The same content again gives the existing version.

        The version's document claims the number, then its passages are stored, then it becomes the published version.
        Whoever sees it therefore sees all of it, and a repeat completes a publishing that was interrupted.
        """
        agent = await self._agents.document(workspace, agent_id)
        digest = _digest(agent["draft"], passages)
        number = max(1, int(agent.get("publishedVersion") or 0))
        while not await self._holds(agent, number, digest, len(passages)):
            number += 1
        await self._passages.freeze(_key(workspace, agent_id, number), passages)
        await self._agents.set_published(agent, number)
        return await self.read(workspace, agent_id, number)

    async def read(self, workspace: str, agent_id: str, number: int) -> AgentVersion:
        """Number 0 is the current draft. Raises `agent_not_found`."""
        if number == DRAFT:
            return await self._draft(workspace, agent_id)
        key = _key(workspace, agent_id, number)
        if (cached := self._cache.get(key)) is not None:
            return cached
        row = await self._versions.one({"_id": key})
        if row is None:
            raise ApiError(Code.AGENT_NOT_FOUND)
        config = AgentConfig.model_validate(orjson.loads(row["config"]))
        version = AgentVersion(agent_id=agent_id, number=number, config=config, passage_count=row["passageCount"])
        self._cache[key] = version
        return version

    async def passages(self, workspace: str, version: AgentVersion) -> list[Passage]:
        return await self._passages.read(_key(workspace, version.agent_id, version.number), version.passage_count)

    async def _draft(self, workspace: str, agent_id: str) -> AgentVersion:
        agent = await self._agents.document(workspace, agent_id)
        config = AgentConfig.model_validate(orjson.loads(agent["draft"]))
        return AgentVersion(agent_id=agent_id, number=DRAFT, config=config)

    async def _holds(self, agent: Document, number: int, digest: str, passage_count: int) -> bool:
        """Whether this number belongs to this content, since now or since earlier."""
        key = f"{agent['_id']}:{number}"
        existing = await self._versions.one({"_id": key}, {"digest": 1})
        if existing is not None:
            return bool(existing["digest"] == digest)
        document: Document = {
            "_id": key,
            "workspace": agent["workspace"],
            "agent": agent["_id"],
            "number": number,
            "config": agent["draft"],
            "digest": digest,
            "passageCount": passage_count,
            "createdAt": datetime.now(UTC),
        }
        try:
            await self._versions.insert(document)
        except Duplicate:
            return await self._holds(agent, number, digest, passage_count)
        return True


def _key(workspace: str, agent_id: str, number: int) -> str:
    return f"{agent_key(workspace, agent_id)}:{number}"


def _digest(draft: str, passages: Sequence[Passage]) -> str:
    content = orjson.dumps([draft, [passage.wire() for passage in passages]], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(content).hexdigest()
