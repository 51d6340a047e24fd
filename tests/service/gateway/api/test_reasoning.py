"""The model's reasoning is streamed to those who ask for it, and to nobody else."""

from typing import Any

import pytest

from tests.service.gateway.fakes import Stage, said
from tests.service.gateway.reading import chunk_of, frames


async def think(gateway: Stage, turn_id: str) -> None:
    writer = gateway.turn_writer(turn_id)
    writer.frame("started", {"turnId": turn_id})
    writer.frame("reasoning", {"text": "Hm."})
    await writer.flush()
    writer.delta("Hello")
    writer.frame("reasoning", {"text": "So."})
    writer.delta("!")
    await writer.flush()
    await gateway.history.finish(turn_id, writer.last_seq + 1, [said("Hello!")])


async def test_reasoning_is_streamed_to_readers_who_ask(gateway: Stage) -> None:
    session = await gateway.session()
    url, body = gateway.url(f"/chat/sessions/{session}/messages?include=reasoning"), {"content": "Hi", "stream": True}
    async with gateway.client.post(url, json=body) as response:
        turn_id = await gateway.admitted()
        assert gateway.history.orders[turn_id].reasoning
        await think(gateway, turn_id)
        asked = await frames(response)
    url = gateway.url(f"/chat/sessions/{session}/turns/{turn_id}/events")
    async with gateway.client.get(url) as response:
        not_asked = await frames(response)
    async with gateway.client.get(f"{url}?include=reasoning") as response:
        asked_later = await frames(response)
    names = ["queued", "started", "reasoning", "delta", "reasoning", "delta", "done"]
    assert [frame.event for frame in asked] == [frame.event for frame in asked_later] == names
    assert [frame.event for frame in not_asked] == [name for name in names if name != "reasoning"]
    assert [frame.data["text"] for frame in asked if frame.event == "reasoning"] == ["Hm.", "So."]


async def test_a_live_reader_who_does_not_ask_gets_no_reasoning(gateway: Stage) -> None:
    session = await gateway.session()
    url, body = gateway.url(f"/chat/sessions/{session}/messages?include=reasoning"), {"content": "Hi", "stream": True}
    async with gateway.client.post(url, json=body) as posted:
        turn_id = await gateway.admitted()
        async with gateway.client.get(gateway.url(f"/chat/sessions/{session}/turns/{turn_id}/events")) as response:
            await think(gateway, turn_id)
            events = [frame.event for frame in await frames(response)]
        await posted.read()
    assert events == ["queued", "started", "delta", "delta", "done"]


async def test_nobody_has_asked_by_default(gateway: Stage) -> None:
    session = await gateway.session()
    url, body = gateway.url(f"/chat/sessions/{session}/messages"), {"content": "Hi", "stream": True}
    async with gateway.client.post(url, json=body) as response:
        turn_id = await gateway.admitted()
        assert not gateway.history.orders[turn_id].reasoning
        await gateway.answer(turn_id, "Hello!")
        await response.read()


async def test_another_value_of_include_is_refused(gateway: Stage) -> None:
    session = await gateway.session()
    url = gateway.url(f"/chat/sessions/{session}/messages?include=everything")
    async with gateway.client.post(url, json={"content": "Hi"}) as response:
        assert (response.status, (await response.json())["code"]) == (400, "invalid_request")


@pytest.mark.parametrize("asks", [True, False])
async def test_a_completion_streams_reasoning_content_on_request(gateway: Stage, asks: bool) -> None:
    body: dict[str, Any] = {
        "model": gateway.agent_id,
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "include_reasoning": asks,
    }
    async with gateway.client.post(gateway.url("/chat/completions"), json=body) as response:
        turn_id = await gateway.admitted()
        assert gateway.history.orders[turn_id].reasoning is asks
        await think(gateway, turn_id)
        blocks = (await response.text()).split("\n\n")
    deltas = [
        chunk_of(block)["choices"][0]["delta"] for block in blocks if block.startswith("data: {") and "choices" in block
    ]
    assert [delta["content"] for delta in deltas if delta.get("content")] == ["Hello", "!"]
    thoughts = [delta["reasoning_content"] for delta in deltas if "reasoning_content" in delta]
    assert thoughts == (["Hm.", "So."] if asks else [])
