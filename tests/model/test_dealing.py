"""No flow is overtaken by another more often than their weights say, in every run; so nobody is starved."""

import pytest

from tests.model.dealing import Rules, explore


@pytest.mark.parametrize("weights", [{"a": 1, "b": 1}, {"a": 1, "b": 3}, {"a": 3, "b": 1}, {"a": 2, "b": 3}])
def test_every_run_is_fair(weights: dict[str, int]) -> None:
    explored = explore(weights)
    assert explored.unfair is None, "\n".join(explored.story)
    assert explored.worlds > 100


@pytest.mark.parametrize("rule", Rules._fields)
def test_without_a_rule_some_run_is_unfair(rule: str) -> None:
    assert explore({"a": 1, "b": 1}, Rules(**{rule: False})).unfair is not None
