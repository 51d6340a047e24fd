import asyncio
from typing import Any

import pytest

from shared.contracts.agent_records import AgentRecord
from shared.contracts.previews import KnowledgePreview, PreviewedPassage, PreviewReply
from shared.previews.exchange import PreviewExchange
from tests.service.gateway.fakes import WORKSPACE, Stage, now


async def test_a_preview_is_what_a_worker_answers(gateway: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def draft(workspace: str, agent_id: str) -> AgentRecord:
        return AgentRecord(id=agent_id, slug="a", name="a", revision=1, created_at=now(), updated_at=now())

    monkeypatch.setattr(gateway.history, "draft", draft)
    worker = PreviewExchange(gateway.dependencies.settings.queue_redis_url)

    async def answer() -> tuple[str, str, int, str, int]:
        while (order := await worker.next()) is None:
            pass
        passage = PreviewedPassage(source_id="src_1", title="Hours", text="At nine.", score=0.5, legs=("words",))
        await worker.answer(order, PreviewReply(preview=KnowledgePreview(query="q", version=0, passages=(passage,))))
        return order.workspace, order.agent_id, order.version, order.query, order.top_k

    answering = asyncio.create_task(answer())
    try:
        body = {"query": "When?", "topK": 2}
        data = await posted(gateway, body)
        assert await answering == (WORKSPACE, gateway.agent_id, 0, "When?", 2)
    finally:
        await worker.aclose()
    (shown,) = data["passages"]
    assert (shown["score"], shown["legs"], shown["used"]) == (0.5, ["words"], True)


async def posted(gateway: Stage, body: dict[str, Any]) -> Any:
    url = gateway.url(f"/agents/{gateway.agent_id}/knowledge/preview")
    async with gateway.client.post(url, json=body) as response:
        assert response.status == 200, await response.text()
        return (await response.json())["data"]
