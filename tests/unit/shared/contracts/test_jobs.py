from typing import Any

import pytest

from shared.contracts.jobs import SCHEMA_VERSION, RunTurn, UndecodableJob

JOB = RunTurn("ws", "trn_1", "agt", 3)


def test_named_members_come_back_as_they_were() -> None:
    assert RunTurn.parse([], JOB.members()) == JOB
    assert JOB.members()["schema_version"] == SCHEMA_VERSION


def test_unknown_members_are_ignored() -> None:
    assert RunTurn.parse([], JOB.members() | {"priority": 5}) == JOB


def test_positional_jobs_of_older_versions_are_read() -> None:
    assert RunTurn.parse(["ws", "trn_1", "agt", 3], {}) == JOB


@pytest.mark.parametrize(
    ("positional", "named"),
    [
        (["ws", "trn_1", "agt", 3, "fifth"], {}),
        (["ws", "trn_1", "agt"], {}),
        (["ws", "trn_1", "agt", 3], {"more": 1}),
        ([], {}),
        ([], {"workspace": "ws", "turn_id": "trn_1", "agent_id": "agt"}),
        ([], JOB.members() | {"agent_version": "3"}),
        ([], JOB.members() | {"agent_version": True}),
        ([], JOB.members() | {"turn_id": None}),
        ([], JOB.members() | {"schema_version": SCHEMA_VERSION + 1}),
        ([], JOB.members() | {"schema_version": "1"}),
    ],
)
def test_what_cannot_be_a_job_of_this_version_is_undecodable(positional: list[Any], named: dict[str, Any]) -> None:
    with pytest.raises(UndecodableJob):
        RunTurn.parse(positional, named)
