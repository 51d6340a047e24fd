"""Versions: read by number, listed, compared, and found by the names that callers use."""

import re
from collections.abc import Mapping
from typing import Final

from cachetools import LRUCache

from services.history.agents.agents import Agents
from services.history.agents.documents import (
    DRAFT,
    WITHOUT_CONFIG,
    WITHOUT_DRAFT,
    agent_key,
    config_of,
    shown,
    version_key,
    version_of,
)
from services.history.agents.merge_patch import changes
from services.history.knowledge.passages import Passages
from services.history.knowledge.version_sources import VersionSources, own_passages, source_of
from services.history.mongo.client import Database
from services.history.mongo.filters import Document, between
from shared.contracts.agent_records import Change, VersionRecord
from shared.contracts.agents import AgentConfig, AgentVersion, Passage
from shared.contracts.errors import ApiError, Code
from shared.contracts.knowledge import SourceText, VersionSource

CACHED_VERSIONS: Final = 1000
_MODEL: Final = re.compile(r"([a-z0-9_-]{1,64})(?:@([1-9][0-9]{0,8}))?")


class Versions:
    """Configurations of versions never change, so they are kept; the draft (number 0) is read each time.

    `internal`: agents of the server itself, which every workspace has and no list shows.
    """

    def __init__(
        self,
        database: Database,
        agents: Agents,
        passages: Passages,
        sources: VersionSources,
        internal: Mapping[str, AgentConfig] | None = None,
    ) -> None:
        self._documents = database.agents
        self._versions = database.agent_versions
        self._agents = agents
        self._passages = passages
        self._internal = internal or {}
        self._sources = sources
        self._cache = LRUCache[str, AgentVersion](CACHED_VERSIONS)

    async def resolve(self, workspace: str, model: str) -> tuple[str, int]:
        """The agent's id and version that a completion's `model` names: an id or a slug, with `@n` for a version.

        Raises `model_not_found`, also for an agent that was never published.
        """
        found = _MODEL.fullmatch(model)
        if found is None:
            raise ApiError(Code.MODEL_NOT_FOUND, param="model")
        name, number = found[1], int(found[2]) if found[2] else None
        row = await self._named(workspace, name)
        if row is None or row.get("publishedVersion") is None:
            raise ApiError(Code.MODEL_NOT_FOUND, param="model")
        if number is None:
            return row["agentId"], row["publishedVersion"]
        version = await self._versions.one({"_id": f"{row['_id']}:{number}"}, WITHOUT_CONFIG)
        if version is None or version.get("state", "published") != "published":
            raise ApiError(Code.MODEL_NOT_FOUND, f"This agent has no version {number}.", param="model")
        return row["agentId"], number

    async def _named(self, workspace: str, name: str) -> Document | None:
        if "_" in name:  # Ids have one, slugs have none.
            return await self._documents.one({"_id": agent_key(workspace, name), "deleted": None}, WITHOUT_DRAFT)
        return await self._documents.one({"workspace": workspace, "slug": name}, WITHOUT_DRAFT)

    async def read(self, workspace: str, agent_id: str, number: int) -> AgentVersion:
        """Number 0 is the draft as it is now. Raises `agent_not_found`.

        A deleted agent's versions stay readable: turns that were accepted before the deletion need them.
        """
        if (config := self._internal.get(agent_id)) is not None:
            return AgentVersion(agent_id=agent_id, number=number, config=config)
        if number == DRAFT:
            return await self._draft(await self._agents.document(workspace, agent_id))
        key = version_key(workspace, agent_id, number)
        if (cached := self._cache.get(key)) is not None:
            return cached
        row = await self._row(workspace, agent_id, number)
        version = AgentVersion(
            agent_id=agent_id, number=number, config=config_of(row["config"]), passage_count=row["passageCount"]
        )
        if row.get("state") != "preparing":  # Its sources may not be frozen yet.
            self._cache[key] = version
        return version

    async def _draft(self, row: Document) -> AgentVersion:
        """The draft knows its sources, and what an operator published with the latest version."""
        own, _ = await self._own_passages(row)
        entries = await self._sources.draft_set(row["workspace"], row["agentId"])
        count = own + sum(entry["count"] for entry in entries)
        return AgentVersion(agent_id=row["agentId"], number=DRAFT, config=config_of(row["draft"]), passage_count=count)

    async def _own_passages(self, agent: Document) -> tuple[int, str]:
        """How many an operator published with the latest version, and under which name."""
        number = agent.get("latestVersion") or agent.get("publishedVersion") or 0
        if number == DRAFT:
            return 0, ""
        return own_passages(await self._row(agent["workspace"], agent["agentId"], number))

    async def record(self, workspace: str, agent_id: str, number: int) -> VersionRecord:
        """With its configuration. Raises `agent_not_found` for an absent agent, `not_found` for an absent version."""
        await self._agents.document(workspace, agent_id, WITHOUT_DRAFT)
        try:
            return version_of(await self._row(workspace, agent_id, number))
        except ApiError as error:
            raise (_no_version(number) if error.code is Code.AGENT_NOT_FOUND else error) from None

    async def page(
        self, workspace: str, agent_id: str, before: int | None, limit: int
    ) -> tuple[list[VersionRecord], int | None]:
        """Versions below `before`, highest first, without configurations, and the number to go on from."""
        agent = await self._agents.document(workspace, agent_id, WITHOUT_DRAFT)
        latest = agent.get("latestVersion") or agent.get("publishedVersion") or 0
        high = min(before, latest + 1) if before is not None else latest + 1
        low = max(1, high - limit)
        where = {"agent": agent["_id"], "number": between(low, high)}
        rows = await self._versions.many(where, fields=WITHOUT_CONFIG, order=[("number", -1)])
        return [version_of(row) for row in rows], low if low > 1 else None

    async def diff(self, workspace: str, agent_id: str, number: int, against: int) -> list[Change]:
        """What changed from version `against` to version `number`; 0 is the draft. Raises as `record`."""
        before, after = [await self._configuration(workspace, agent_id, each) for each in (against, number)]
        return changes(before, after)

    async def _configuration(self, workspace: str, agent_id: str, number: int) -> object:
        if number == DRAFT:
            return shown((await self._agents.document(workspace, agent_id))["draft"])
        return (await self.record(workspace, agent_id, number)).config

    async def passages(self, workspace: str, agent_id: str, number: int) -> list[Passage]:
        """What a version knows: the passages that were published with it, and those of its sources."""
        if number == DRAFT:
            own, owner = await self._own_passages(await self._agents.document(workspace, agent_id, WITHOUT_DRAFT))
            entries = await self._sources.draft_set(workspace, agent_id)
        else:
            row = await self._row(workspace, agent_id, number)
            own, owner = own_passages(row)
            entries = row.get("sources") or []
        return [*await self._passages.read(owner, own), *await self._sources.passages(entries)]

    async def sources(self, workspace: str, agent_id: str, number: int) -> list[VersionSource]:
        """The sources that the version was frozen with. Raises `agent_not_found`."""
        row = await self._row(workspace, agent_id, number)
        return [source_of(entry) for entry in row.get("sources") or []]

    async def source_text(self, workspace: str, agent_id: str, number: int, source_id: str) -> SourceText:
        """Raises `agent_not_found`, and `not_found` also for a source that was purged since."""
        row = await self._row(workspace, agent_id, number)
        entry = next((entry for entry in row.get("sources") or [] if entry["id"] == source_id), None)
        found = await self._sources.text(entry) if entry is not None else None
        if found is None:
            raise ApiError(Code.NOT_FOUND)
        return found

    async def _row(self, workspace: str, agent_id: str, number: int) -> Document:
        row = await self._versions.one({"_id": version_key(workspace, agent_id, number)})
        if row is None:
            raise ApiError(Code.AGENT_NOT_FOUND)
        return row


def _no_version(number: int) -> ApiError:
    return ApiError(Code.NOT_FOUND, f"This agent has no version {number}.")
