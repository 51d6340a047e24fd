"""A change of a contract must leave it readable by the last release, and the last release's by this one."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any, Final

import pytest

from tests.contracts import schema_file
from tests.contracts.bodies import BOOLEAN, members
from tests.contracts.compatible import Comparison
from tests.contracts.recording import Recording

RULE: Final = (
    "Processes of two releases run side by side during an upgrade. Give a new member a default, keep old names and "
    "types, and see `Change a contract between processes` in CONTRIBUTING.md."
)
# What the last release does not read, and why that is meant: its beginning, and the reason.
ACCEPTED: Final[dict[str, str]] = {
    "UsagePending.": "gateways pass it on without reading it; the API says that it may have no members",
}

Both = tuple[dict[str, Any], dict[str, Any]]
Told = dict[str, dict[str, Any]]
Plant = Callable[[Told], None]
Direction = Callable[[Both, Both], list[str]]


@pytest.fixture(scope="module")
def today() -> Both:
    return schema_file.both(schema_file.today())


@pytest.fixture(scope="module")
def recorded() -> Both:
    return Recording().schemas()


def unread_by_today(today: Both, recorded: Both) -> list[str]:
    comparison = Comparison(today[0], recorded[1], readers_are_older=False)
    return [fault for name in recorded[1] for fault in comparison.faults(name)]


def unread_by_the_last(today: Both, recorded: Both) -> list[str]:
    comparison = Comparison(recorded[0], today[1], readers_are_older=True)
    return [fault for name in recorded[0] for fault in comparison.faults(name)]


def test_this_release_reads_what_the_last_one_writes(today: Both, recorded: Both) -> None:
    faults = unread_by_today(today, recorded)
    assert not faults, f"This release cannot read what the last one wrote: {'; '.join(faults)}. {RULE}"


def test_the_last_release_reads_what_this_one_writes(today: Both, recorded: Both) -> None:
    found = unread_by_the_last(today, recorded)
    faults = [fault for fault in found if not fault.startswith(tuple(ACCEPTED))]
    assert not faults, f"The last release cannot read what this one writes: {'; '.join(faults)}. {RULE}"
    unused = [each for each in ACCEPTED if not any(fault.startswith(each) for fault in found)]
    assert not unused, f"these exceptions are no longer needed: {unused}"


CALL: Final = "POST /workspaces/{workspace}/turns/{turn_id}/calls"
START: Final = "POST /workspaces/{workspace}/turns/{turn_id}/attempts"
USAGE: Final = "GET /workspaces/{workspace}/usage"


def _required_now(told: Told) -> None:
    told["read"]["StartCall"]["required"].append("leaseId")
    told["read"]["StartCall"]["properties"]["leaseId"] = {"type": "string"}


def _answer_renamed(told: Told) -> None:
    told["calls"][f"{CALL} reply"] = members(isRecorded=BOOLEAN)


def _other_model(told: Told) -> None:
    told["calls"][f"{START} reply"] = {"$ref": "#/$defs/Turn"}


def _no_longer_paged(told: Told) -> None:
    told["calls"][f"{USAGE} reply"] = {"type": "array", "items": {"$ref": "#/$defs/UsageRow"}}


def _null_now(told: Told) -> None:
    told["written"]["Principal"] = {**told["read"]["Principal"], "nulls": "written"}
    told["written"]["Principal"]["properties"]["keyId"] = {"anyOf": [{"type": "string"}, {"type": "null"}]}


def _no_longer_served(told: Told) -> None:
    del told["calls"][f"{CALL} request"]


def _member_for_a_strict_reader(told: Told) -> None:
    told["read"]["Theme"]["properties"]["shadow"] = {"type": "boolean", "default": False}


PLANTED: Final[list[tuple[Plant, Direction, str]]] = [
    (_required_now, unread_by_today, "StartCall.leaseId: the reader needs it, the writer does not write it"),
    (_answer_renamed, unread_by_the_last, f"{CALL} reply.recorded: the reader needs it, the writer does not write it"),
    (_answer_renamed, unread_by_today, f"{CALL} reply.isRecorded: the reader needs it, the writer does not write it"),
    (_other_model, unread_by_the_last, f"{START} reply.started: the reader needs it, the writer does not write it"),
    (_no_longer_paged, unread_by_the_last, f"{USAGE} reply: array is written, object is read"),
    (_null_now, unread_by_the_last, "Principal.keyId: null is written, string is read"),
    (_no_longer_served, unread_by_the_last, f"{CALL} request: the writer no longer has it; keep it under its name"),
    (_no_longer_served, unread_by_today, f"{CALL} request: the reader no longer has it; keep it under its name"),
    (
        _member_for_a_strict_reader,
        unread_by_the_last,
        "Theme.shadow: the reader refuses it, as all members that it does not know",
    ),
]


@pytest.mark.parametrize(("plant", "direction", "fault"), PLANTED)
def test_a_planted_change_of_a_body_of_history_is_told(plant: Plant, direction: Direction, fault: str) -> None:
    before = schema_file.today()
    changed = deepcopy(before)
    plant(changed)
    assert fault in direction(schema_file.both(changed), schema_file.both(before))
    assert not direction(schema_file.both(before), schema_file.both(before))


MODEL: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["turnId"],
    "properties": {
        "turnId": {"type": "string"},
        "attempt": {"type": "integer", "default": 0},
        "status": {"type": "string", "enum": ["queued", "running"]},
        "endedAt": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}], "default": None},
        "output": {"type": "array", "items": {"$ref": "#/$defs/Part"}, "default": []},
    },
}
PART: Final[dict[str, Any]] = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


def _changed(member: str, schema: Any) -> dict[str, Any]:
    rest = {name: each for name, each in MODEL["properties"].items() if name != member}
    return {**MODEL, "properties": rest if schema is None else {**rest, member: schema}}


@pytest.mark.parametrize(
    ("writer", "told"),
    [
        (MODEL, []),
        (_changed("attempt", None), []),
        (_changed("added", {"type": "string"}), []),
        (_changed("turnId", None), ["Model.turnId: the reader needs it, the writer does not write it"]),
        (
            _changed("turnId", {"anyOf": [{"type": "string"}, {"type": "null"}]}),
            ["Model.turnId: the reader needs it, the writer may leave it out"],
        ),
        (_changed("attempt", {"type": "string"}), ["Model.attempt: string is written, integer is read"]),
        (
            _changed("status", {"type": "string", "enum": ["queued", "paused"]}),
            ["Model.status: string paused|queued is written, string queued|running is read"],
        ),
        (_changed("status", {"type": "string", "const": "queued"}), []),
        (_changed("endedAt", {"type": "integer"}), ["Model.endedAt: integer is none of what is read"]),
        (_changed("output", {"type": "object"}), ["Model.output: object is written, array is read"]),
        (
            _changed("output", {"type": "array", "items": {"type": "string"}}),
            ["Model.output[]: string is written, object is read"],
        ),
    ],
)
def test_a_change_that_breaks_a_reader_is_told_by_its_member(writer: dict[str, Any], told: list[str]) -> None:
    assert compared({"Model": MODEL, "Part": PART}, {"Model": writer, "Part": PART}) == told


def compared(readers: dict[str, Any], writers: dict[str, Any], *, readers_are_older: bool = False) -> list[str]:
    return Comparison(readers, writers, readers_are_older=readers_are_older).faults("Model")


def test_a_member_that_is_no_longer_written_is_told_although_it_has_a_default() -> None:
    readers, writers = {"Model": MODEL, "Part": PART}, {"Model": _changed("attempt", None), "Part": PART}
    told = ["Model.attempt: the reader has a default for it, the writer no longer writes it"]
    assert compared(readers, writers, readers_are_older=True) == told


def test_a_model_that_is_gone_is_told() -> None:
    assert compared({}, {"Model": MODEL}) == ["Model: the reader no longer has it; keep it under its name"]
    assert compared({"Model": MODEL}, {}) == ["Model: the writer no longer has it; keep it under its name"]
