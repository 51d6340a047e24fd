"""Agents: a draft that can be replaced, and numbered versions that never change."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import orjson
from aiohttp import web
from pydantic import BaseModel

from services.history.api.bodies import AGENT, WORKSPACE, part, read_schema
from services.history.knowledge.passages import Knowledge
from services.history.mongo.client import Document, Duplicate, Fields, Store
from shared.contracts.agents import Agent, AgentConfig, AgentVersion, Passage
from shared.contracts.errors import ApiError, Code
from shared.web.bodies import json_response

CACHED_VERSIONS: Final = 1000
LISTED_AGENTS: Final = 1000
DRAFT: Final = 0
_WITHOUT_DRAFT: Final[Fields] = {"draft": 0}


class Publication(BaseModel):
    passages: tuple[Passage, ...] = ()


class Agents:
    """Rules of agents. Configurations are stored as JSON: a tool's schema has members that no field may be named after."""

    def __init__(self, store: Store, knowledge: Knowledge) -> None:
        self._agents = store.agents
        self._versions = store.agent_versions
        self._knowledge = knowledge
        self._cache: OrderedDict[str, AgentVersion] = OrderedDict()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(WORKSPACE + "/agents", self._get_published),
            web.put(AGENT, self._put),
            web.get(AGENT, self._get),
            web.post(AGENT + "/publish", self._post_publish),
            web.get(AGENT + r"/versions/{number:\d{1,9}}", self._get_version),
            web.get(AGENT + r"/versions/{number:\d{1,9}}/passages", self._get_passages),
        ]

    # --- rules

    async def put(self, workspace: str, agent_id: str, config: AgentConfig) -> Agent:
        """Creates the agent or replaces its draft."""
        where = {"_id": _key(workspace, agent_id)}
        changed = {"name": config.name, "draft": _frozen(config)}
        created: Document = {
            **where,
            "workspace": workspace,
            "agentId": agent_id,
            **changed,
            "createdAt": datetime.now(UTC),
        }
        # Not an upsert: two of them at once can fail or, on the stand-in, lose one.
        if not await self._agents.update(where, {"$set": changed}):
            try:
                await self._agents.insert(created)
            except Duplicate:
                await self._agents.update(where, {"$set": changed})
        return await self.find(workspace, agent_id)

    async def find(self, workspace: str, agent_id: str) -> Agent:
        """Raises `agent_not_found`."""
        return _agent(await self._document(workspace, agent_id, _WITHOUT_DRAFT))

    async def published(self, workspace: str) -> list[Agent]:
        rows = await self._agents.many({"workspace": workspace}, fields=_WITHOUT_DRAFT, limit=LISTED_AGENTS)
        agents = [_agent(row) for row in rows if row.get("publishedVersion") is not None]
        return sorted(agents, key=lambda agent: (agent.created_at, agent.id))

    async def published_one(self, workspace: str, agent_id: str) -> Agent:
        """Raises `agent_not_found`, also for an agent that was never published."""
        agent = await self.find(workspace, agent_id)
        if agent.published_version is None:
            raise ApiError(Code.AGENT_NOT_FOUND)
        return agent

    async def publish(self, workspace: str, agent_id: str, passages: Sequence[Passage]) -> AgentVersion:
        """Freezes the draft and the passages under the next number; the same content again is the version that stands.

        The version's document claims the number, then its passages are stored, then it becomes the published one: whoever
        sees it sees it whole, and a publishing that was cut off is completed by its repeat.
        """
        agent = await self._document(workspace, agent_id)
        digest = _digest(agent["draft"], passages)
        number = max(1, int(agent.get("publishedVersion") or 0))
        while not await self._holds(agent, number, digest, len(passages)):
            number += 1
        await self._knowledge.freeze(_key(workspace, agent_id, number), passages)
        await self._agents.update({"_id": agent["_id"]}, {"$max": {"publishedVersion": number}})
        return await self.version(workspace, agent_id, number)

    async def version(self, workspace: str, agent_id: str, number: int) -> AgentVersion:
        """Number 0 is the draft as it is now. Raises `agent_not_found`."""
        if number == DRAFT:
            return await self._draft(workspace, agent_id)
        key = _key(workspace, agent_id, number)
        if (cached := self._cache.get(key)) is not None:
            self._cache.move_to_end(key)
            return cached
        row = await self._versions.one({"_id": key})
        if row is None:
            raise ApiError(Code.AGENT_NOT_FOUND)
        config = AgentConfig.model_validate(orjson.loads(row["config"]))
        version = AgentVersion(agent_id=agent_id, number=number, config=config, passage_count=row["passageCount"])
        self._cache[key] = version
        if len(self._cache) > CACHED_VERSIONS:
            self._cache.popitem(last=False)
        return version

    async def _draft(self, workspace: str, agent_id: str) -> AgentVersion:
        agent = await self._document(workspace, agent_id)
        return AgentVersion(
            agent_id=agent_id, number=DRAFT, config=AgentConfig.model_validate(orjson.loads(agent["draft"]))
        )

    async def _document(self, workspace: str, agent_id: str, fields: Fields | None = None) -> Document:
        agent = await self._agents.one({"_id": _key(workspace, agent_id)}, fields)
        if agent is None:
            raise ApiError(Code.AGENT_NOT_FOUND)
        return agent

    async def _holds(self, agent: Document, number: int, digest: str, passage_count: int) -> bool:
        """Whether this number stands for this content, now or already."""
        key = f"{agent['_id']}:{number}"
        existing = await self._versions.one({"_id": key}, {"digest": 1})
        if existing is not None:
            return bool(existing["digest"] == digest)
        try:
            await self._versions.insert(
                {
                    "_id": key,
                    "workspace": agent["workspace"],
                    "agent": agent["_id"],
                    "number": number,
                    "config": agent["draft"],
                    "digest": digest,
                    "passageCount": passage_count,
                    "createdAt": datetime.now(UTC),
                }
            )
        except Duplicate:
            return await self._holds(agent, number, digest, passage_count)
        return True

    # --- handlers

    async def _put(self, request: web.Request) -> web.Response:
        config = await read_schema(request, AgentConfig)
        return json_response((await self.put(part(request, "workspace"), part(request, "agent_id"), config)).wire())

    async def _get(self, request: web.Request) -> web.Response:
        return json_response((await self.published_one(part(request, "workspace"), part(request, "agent_id"))).wire())

    async def _get_published(self, request: web.Request) -> web.Response:
        return json_response([agent.wire() for agent in await self.published(part(request, "workspace"))])

    async def _post_publish(self, request: web.Request) -> web.Response:
        body = await read_schema(request, Publication)
        version = await self.publish(part(request, "workspace"), part(request, "agent_id"), body.passages)
        return json_response(version.wire())

    async def _get_version(self, request: web.Request) -> web.Response:
        return json_response((await self._asked_version(request)).wire())

    async def _get_passages(self, request: web.Request) -> web.Response:
        version = await self._asked_version(request)
        key = _key(part(request, "workspace"), version.agent_id, version.number)
        return json_response([passage.wire() for passage in await self._knowledge.read(key, version.passage_count)])

    async def _asked_version(self, request: web.Request) -> AgentVersion:
        return await self.version(part(request, "workspace"), part(request, "agent_id"), int(part(request, "number")))


def _key(workspace: str, agent_id: str, number: int | None = None) -> str:
    """A document's id. The workspace stands in it, so that two may name their agents alike."""
    return f"{workspace}:{agent_id}" if number is None else f"{workspace}:{agent_id}:{number}"


def _agent(row: Document) -> Agent:
    return Agent.model_validate({**row, "id": row["agentId"]})


def _frozen(config: AgentConfig) -> str:
    return orjson.dumps(config.wire(), option=orjson.OPT_SORT_KEYS).decode()


def _digest(draft: str, passages: Sequence[Passage]) -> str:
    content = orjson.dumps([draft, [passage.wire() for passage in passages]], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(content).hexdigest()
