"""Gaps of an agent's knowledge."""

from shared.contracts.gaps import KnowledgeGaps
from shared.history_api.transport import Transport


class GapCalls(Transport):
    async def knowledge_gaps(self, workspace: str, agent_id: str, query: dict[str, str]) -> KnowledgeGaps:
        """`query`: `days` and `reason`. Raises `agent_not_found` and `invalid_request`."""
        return KnowledgeGaps.model_validate(
            await self._get(f"/workspaces/{workspace}/agents/{agent_id}/knowledge/gaps", query)
        )
