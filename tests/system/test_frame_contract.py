"""Frames of this release beside those that the last one recorded: clients and gateways of the last one read them."""

import pytest

from shared.contracts.frames import data_of
from shared.contracts.tools import HttpTool
from tests.contracts.reading import read_entry
from tests.contracts.recording import Recording
from tests.contracts.shapes import Shape
from tests.system.stack import Client, Stack


@pytest.fixture(scope="module")
def recorded() -> dict[str, Shape]:
    """By the frames' types."""
    shapes: dict[str, Shape] = {}
    for row in Recording().redis:
        for frame in read_entry(row["key"], row) if row["key"].startswith("turn:") else ():
            shapes.setdefault(frame.event, Shape()).add(data_of(frame.data))
    return shapes


async def test_every_frame_has_the_members_and_types_that_the_last_release_gave_it(
    stack: Stack, client: Client, recorded: dict[str, Shape]
) -> None:
    base_url = stack.facts["modelUrl"].removesuffix("/v1")
    order = HttpTool.model_validate({"name": "order_status", "url": f"{base_url}/tools/order_status"})
    answered = await stack.publish('scripted/tokens=3,tool=order_status:{"order_id":"1042"}', tools=(order,))
    failed = await stack.publish("scripted/fail=500")
    told = [await client.ask(await client.session(agent), "Where is it?") for agent in (answered, failed)]
    told.append(await client.ask(await client.session(stack.facts["agentId"]), "What are your hours?"))
    frames = [frame for transcript in told for frame in transcript.frames]
    seen = {frame.event for frame in frames}
    assert seen >= {"started", "delta", "tool_call", "tool_result", "kb_retrieval", "done", "error"}
    known = [frame for frame in frames if frame.event in recorded]
    faults = {fault for frame in known for fault in recorded[frame.event].faults(frame.data, frame.event)}
    assert not faults, f"Readers of the last release do not understand these frames: {sorted(faults)}"


def test_a_frame_that_lost_a_member_or_changed_its_type_is_told(recorded: dict[str, Shape]) -> None:
    delta, done = recorded["delta"], recorded["done"]
    assert list(delta.faults({"txt": "Hi"}, "delta")) == ["delta lacks text"]
    assert list(delta.faults({"text": 1}, "delta")) == ["delta.text is of type int, and was of type str"]
    assert list(delta.faults({"text": "Hi", "more": 1}, "delta")) == []
    told = list(done.faults({"messages": [{"role": "assistant", "content": ["Hi"]}]}, "done"))
    assert "done lacks turnId" in told
    assert "done.messages[] lacks id" in told
    assert "done.messages[].content is of type list, and was of type str" in told
