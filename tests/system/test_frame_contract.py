"""Frames of this release beside those that the last one recorded: old clients and old gateways read these too."""

from typing import Any, Final

import pytest

from shared.contracts.frame_types import FRAME_TYPES
from shared.contracts.frames import data_of
from shared.contracts.tools import HttpTool
from tests.contracts.reading import read_entry
from tests.contracts.recording import Recording
from tests.system.stack import Client, Stack

Shapes = dict[str, dict[str, set[str]]]
# Members that may be null although no recorded frame shows it.
NULL: Final = "NoneType"


def add(shapes: Shapes, event: str, data: dict[str, Any]) -> None:
    members = shapes.setdefault(event, {})
    for name, value in data.items():
        members.setdefault(name, set()).add(type(value).__name__)


@pytest.fixture(scope="module")
def recorded() -> Shapes:
    shapes: Shapes = {}
    for row in Recording().redis:
        for frame in read_entry(row["key"], row) if row["key"].startswith("turn:") else ():
            add(shapes, frame.event, data_of(frame.data))
    return shapes


def differences(recorded: Shapes, event: str, data: dict[str, Any]) -> list[str]:
    """What a reader of the last release would miss in this frame."""
    known = recorded.get(event, {})
    missing = [f"{event} lacks {name}" for name in known if name not in data and f"{name}?" not in _members(event)]
    return missing + [
        f"{event}.{name} is of type {kind}, and was of type {' or '.join(sorted(known[name]))}"
        for name, kind in ((name, type(value).__name__) for name, value in data.items() if name in known)
        if kind not in known[name] | {NULL}
    ]


def _members(event: str) -> dict[str, str]:
    return FRAME_TYPES[event].members


async def test_every_frame_has_the_members_and_types_that_the_last_release_gave_it(
    stack: Stack, client: Client, recorded: Shapes
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
    found = [each for frame in frames for each in differences(recorded, frame.event, frame.data)]
    assert not found, f"readers of the last release do not understand these frames: {sorted(set(found))}"


def test_a_frame_that_lost_a_member_or_changed_its_type_is_told(recorded: Shapes) -> None:
    assert differences(recorded, "delta", {"txt": "Hi"}) == ["delta lacks text"]
    assert differences(recorded, "delta", {"text": 1}) == ["delta.text is of type int, and was of type str"]
    assert differences(recorded, "delta", {"text": "Hi", "more": 1}) == []
