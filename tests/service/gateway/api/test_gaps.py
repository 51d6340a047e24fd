from datetime import UTC, datetime

import pytest

from shared.contracts.gaps import KnowledgeGap, KnowledgeGaps
from shared.ids import new_id
from tests.service.gateway.fakes import WORKSPACE, Stage

MOMENT = datetime(2026, 1, 31, 9, tzinfo=UTC)


async def test_the_gaps_of_an_agents_knowledge_are_told_for_the_days_asked(
    gateway: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str, dict[str, str]]] = []

    async def knowledge_gaps(workspace: str, agent_id: str, query: dict[str, str]) -> KnowledgeGaps:
        asked.append((workspace, agent_id, query))
        gap = KnowledgeGap(question="Gift cards?", count=3, first_asked_at=MOMENT, last_asked_at=MOMENT)
        return KnowledgeGaps(days=30, questions=3, truncated=False, gaps=(gap,))

    monkeypatch.setattr(gateway.history, "knowledge_gaps", knowledge_gaps)
    agent_id = new_id("agt")
    async with gateway.client.get(
        gateway.url(f"/agents/{agent_id}/knowledge/gaps?days=30&reason=any&other=1")
    ) as response:
        assert response.status == 200
        data = (await response.json())["data"]
    assert asked == [(WORKSPACE, agent_id, {"days": "30", "reason": "any"})]
    assert (data["questions"], data["gaps"][0]["question"], data["gaps"][0]["count"]) == (3, "Gift cards?", 3)
    async with gateway.client.get(gateway.url("/agents/nonsense/knowledge/gaps")) as response:
        assert (response.status, (await response.json())["code"]) == (404, "agent_not_found")
