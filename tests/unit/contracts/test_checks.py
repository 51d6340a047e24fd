"""What an author may write as checks."""

from typing import Any

import pytest
from pydantic import ValidationError

from shared.contracts.checks import CheckSuite, Expectation


def suite(*expectations: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"checks": [{"name": "hours", "steps": [{"user": "When?", "expect": list(expectations)}], **members}]}


def test_a_suite_is_read_as_it_was_written() -> None:
    written = suite({"contains": "11"}, {"toolCalled": {"name": "find_table", "arguments": {"day": "sunday"}}})
    assert CheckSuite.model_validate(written).wire()["checks"][0]["steps"] == written["checks"][0]["steps"]


@pytest.mark.parametrize("expectation", [{}, {"contains": "a", "matches": "b"}])
def test_an_expectation_has_exactly_one_member(expectation: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="exactly one of contains"):
        CheckSuite.model_validate(suite(expectation), extra="forbid")


def test_an_expectation_knows_its_kind() -> None:
    assert Expectation(max_latency_ms=5).kind == "maxLatencyMs"


def test_a_misspelt_member_is_refused_with_its_place() -> None:
    with pytest.raises(ValidationError) as refusal:
        CheckSuite.model_validate(suite({"contain": "a"}), extra="forbid")
    assert ("checks", 0, "steps", 0, "expect", 0, "contain") in {fault["loc"] for fault in refusal.value.errors()}


def test_two_checks_of_one_name_are_refused() -> None:
    checks = suite({"contains": "a"})["checks"]
    with pytest.raises(ValidationError, match="two checks have the name"):
        CheckSuite.model_validate({"checks": checks * 2})


def test_a_passage_must_be_named_by_something() -> None:
    with pytest.raises(ValidationError, match="needs sourceId, title or contains"):
        CheckSuite.model_validate(suite({"passageRetrieved": {}}))
