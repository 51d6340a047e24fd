"""Agents and their versions."""

from collections.abc import Iterable
from typing import Any, Final

from shared.contracts.agent_records import (
    AgentRecord,
    Change,
    DraftPatch,
    NewAgent,
    PublishOrder,
    RollbackOrder,
    VersionRecord,
)
from shared.contracts.agents import Agent, AgentConfig, AgentVersion, Passage
from shared.contracts.knowledge import SourceText, VersionSource
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

    async def published_agents(
        self, workspace: str, before: str | None = None, limit: int = AGENTS_PAGE
    ) -> tuple[list[Agent], bool]:
        """Those older than the agent `before`, newest first, and whether more follow."""
        query = {"limit": str(limit)} | ({"before": before} if before is not None else {})
        page = await self._page(f"/workspaces/{workspace}/agents", query)
        return [Agent.model_validate(agent) for agent in page["items"]], page["nextCursor"] is not None

    async def published_agent(self, workspace: str, agent_id: str) -> Agent:
        """Raises `agent_not_found`, also for one that was never published."""
        return Agent.model_validate(await self._get(f"/workspaces/{workspace}/agents/{agent_id}"))

    async def resolve_model(self, workspace: str, model: str) -> tuple[str, int]:
        """The agent's id and the version that `model` names: an id or a slug, with `@n` for a version.

        Raises `model_not_found`.
        """
        found = await self._get(f"/workspaces/{workspace}/resolved-model", {"model": model})
        return found["agentId"], found["version"]

    async def agent_version(self, workspace: str, agent_id: str, number: int) -> AgentVersion:
        return AgentVersion.model_validate(
            await self._get(f"/workspaces/{workspace}/agents/{agent_id}/versions/{number}")
        )

    async def passages(self, workspace: str, agent_id: str, number: int) -> list[Passage]:
        rows = await self._get(f"/workspaces/{workspace}/agents/{agent_id}/versions/{number}/passages")
        return [Passage.model_validate(row) for row in rows]

    async def version_sources(self, workspace: str, agent_id: str, number: int) -> list[VersionSource]:
        """The sources that the version was frozen with. Raises `agent_not_found`."""
        rows = await self._get(f"/workspaces/{workspace}/agents/{agent_id}/versions/{number}/sources")
        return [VersionSource.model_validate(row) for row in rows]

    async def source_text(self, workspace: str, agent_id: str, number: int, source_id: str) -> SourceText:
        """Raises `agent_not_found`, and `not_found` for a source that the version does not have (any more)."""
        path = f"/workspaces/{workspace}/agents/{agent_id}/versions/{number}/sources/{source_id}/text"
        return SourceText.model_validate(await self._get(path))

    async def create_draft(self, workspace: str, order: NewAgent) -> AgentRecord:
        """Raises `validation_failed`, `payload_too_large`. A repeat of the same id creates nothing."""
        return AgentRecord.model_validate(await self._post(f"/workspaces/{workspace}/drafts", order.wire()))

    async def draft_list(self, workspace: str, query: dict[str, str]) -> dict[str, Any]:
        """`{"items": [agent without its draft…], "nextCursor"}`, newest first. `query`: slug, cursor, limit."""
        return await self._page(f"/workspaces/{workspace}/drafts", query)

    async def draft(self, workspace: str, agent_id: str) -> AgentRecord:
        """With the draft. Raises `agent_not_found`."""
        return AgentRecord.model_validate(await self._get(_draft(workspace, agent_id)))

    async def patch_draft(self, workspace: str, agent_id: str, order: DraftPatch) -> AgentRecord:
        """Raises `version_conflict`, `validation_failed`, `payload_too_large`."""
        return AgentRecord.model_validate(await self._call("PATCH", _draft(workspace, agent_id), order.wire()))

    async def delete_agent(self, workspace: str, agent_id: str, actor: str | None) -> None:
        """Idempotent. Its sessions end; its knowledge is erased; transcripts stay."""
        await self._call("DELETE", _draft(workspace, agent_id), {"actor": actor})

    async def publish_draft(self, workspace: str, agent_id: str, order: PublishOrder) -> VersionRecord:
        """The new version, which may still be `preparing`."""
        return VersionRecord.model_validate(await self._post(_draft(workspace, agent_id) + "/publish", order.wire()))

    async def rollback_agent(self, workspace: str, agent_id: str, order: RollbackOrder) -> VersionRecord:
        """Raises `not_found` for a version that was never published."""
        return VersionRecord.model_validate(await self._post(_draft(workspace, agent_id) + "/rollback", order.wire()))

    async def version_list(self, workspace: str, agent_id: str, query: dict[str, str]) -> dict[str, Any]:
        """`{"items": [version without its configuration…], "nextCursor"}`, highest first."""
        return await self._page(_draft(workspace, agent_id) + "/versions", query)

    async def version_record(self, workspace: str, agent_id: str, number: int) -> VersionRecord:
        return VersionRecord.model_validate(await self._get(f"{_draft(workspace, agent_id)}/versions/{number}"))

    async def version_diff(self, workspace: str, agent_id: str, number: int, against: int) -> list[Change]:
        """From version `against` to `number`; 0 is the draft."""
        path = f"{_draft(workspace, agent_id)}/versions/{number}/diff"
        return [Change.model_validate(row) for row in await self._get(path, {"against": str(against)})]

    async def audit(self, workspace: str, query: dict[str, str]) -> dict[str, Any]:
        """`{"items": [audit record…], "nextCursor"}`, newest first."""
        return await self._page(f"/workspaces/{workspace}/audit", query)


def _draft(workspace: str, agent_id: str) -> str:
    return f"/workspaces/{workspace}/drafts/{agent_id}"
