"""A change of a contract must leave it readable by the last release, and the last release's by this one."""

from typing import Any, Final

import pytest

from tests.contracts.compatible import Comparison
from tests.contracts.recording import Recording
from tests.contracts.schemas import schemas

RULE: Final = (
    "Processes of two releases run side by side during an upgrade. Give a new member a default, keep old names and "
    "types, and see `Change a contract between processes` in CONTRIBUTING.md."
)
# What the last release does not read, and why that is meant: its beginning, and the reason.
ACCEPTED: Final = {
    "ChangeKey.agentId: the reader needs it": "changing a secret key is new; the last release answers 422 to it",
    "Scope: ": "a key with a new scope opens nothing there, and OPERATING says when such keys may exist",
}


@pytest.fixture(scope="module")
def today() -> tuple[dict[str, Any], dict[str, Any]]:
    told = schemas()
    return told["read"], {**told["read"], **told["written"]}


@pytest.fixture(scope="module")
def recorded() -> tuple[dict[str, Any], dict[str, Any]]:
    return Recording().schemas()


def test_this_release_reads_what_the_last_one_writes(
    today: tuple[dict[str, Any], dict[str, Any]], recorded: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    comparison = Comparison(today[0], recorded[1], readers_are_older=False)
    faults = [fault for model in recorded[1] for fault in comparison.faults(model)]
    assert not faults, f"This release cannot read what the last one wrote: {'; '.join(faults)}. {RULE}"


def test_the_last_release_reads_what_this_one_writes(
    today: tuple[dict[str, Any], dict[str, Any]], recorded: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    comparison = Comparison(recorded[0], today[1], readers_are_older=True)
    found = [fault for model in recorded[0] for fault in comparison.faults(model)]
    faults = [fault for fault in found if not fault.startswith(tuple(ACCEPTED))]
    assert not faults, f"The last release cannot read what this one writes: {'; '.join(faults)}. {RULE}"
    unused = [each for each in ACCEPTED if not any(fault.startswith(each) for fault in found)]
    assert not unused, f"these exceptions are no longer needed: {unused}"


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
    assert compared({}, {"Model": MODEL}) == ["Model: the reader no longer has it; keep the old name"]
    assert compared({"Model": MODEL}, {}) == ["Model: the writer no longer has it; keep the old name"]
