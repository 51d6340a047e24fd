from typing import Any

import pytest

from services.history.checks.suite_rules import MAX_SUITE, checked_suite
from shared.contracts.errors import ApiError, Code


def suite(expect: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"checks": [{"name": "a", "steps": [{"user": "Q?", "expect": [expect]}], **members}]}


def faults(suite: dict[str, Any], *, has_judge: bool = False) -> dict[str, str]:
    with pytest.raises(ApiError) as caught:
        checked_suite(suite, has_judge=has_judge)
    assert caught.value.code is Code.VALIDATION_FAILED
    return {fault["field"]: fault["message"] for fault in caught.value.errors}


def test_a_misspelt_member_is_refused_with_the_nearest_name() -> None:
    found = faults(suite({"contians": "x"}))
    assert found["checks.0.steps.0.expect.0.contians"] == "is not a known member. Did you mean contains?"


@pytest.mark.parametrize("pattern", ["(a", r"(a)\1", "a{5000}"])
def test_a_pattern_that_re2_does_not_take_is_refused_in_its_place(pattern: str) -> None:
    found = faults(suite({"matches": pattern}))
    assert found["checks.0.steps.0.expect.0.matches"].startswith("is not a regular expression in RE2's syntax")


def test_a_rubric_needs_a_judge() -> None:
    assert "PARLEY_CHECKS_JUDGE_MODEL" in faults(suite({"rubric": "Kind."}))["checks.0.steps.0.expect.0.rubric"]
    assert len(checked_suite(suite({"rubric": "Kind."}), has_judge=True).checks) == 1


@pytest.mark.parametrize("members", [{"timeoutS": 0}, {"maxTokens": 0}, {"name": " "}, {"steps": []}])
def test_a_check_has_a_name_steps_and_positive_limits(members: dict[str, Any]) -> None:
    assert faults(suite({"contains": "x"}) | {"checks": [suite({"contains": "x"})["checks"][0] | members]})


def test_a_suite_is_bounded_in_bytes() -> None:
    with pytest.raises(ApiError) as caught:
        checked_suite(suite({"contains": "x" * MAX_SUITE}), has_judge=False)
    assert caught.value.code is Code.PAYLOAD_TOO_LARGE
