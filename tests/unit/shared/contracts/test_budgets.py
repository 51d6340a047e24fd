"""The body of a budget: nothing that is written wrongly becomes a limit that is missing, or another one."""

from typing import Any

import pytest
from pydantic import ValidationError

from shared.contracts.budgets import PutBudget, StoreBudget


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"day": {}},
        {"day": {"tokens": 5, "costs": 1}},  # The misspelt limit was left out in silence.
        {"day": {"tokens": "5"}},
        {"day": {"tokens": True}},
        {"day": {"tokens": 1.5}},
        {"day": {"tokens": -1}},
        {"day": {"cost": 1e-12}},  # It became 0, which refuses every turn.
        {"day": {"cost": "1"}},
        {"week": {"tokens": 5}},
    ],
)
def test_a_budget_that_is_written_wrongly_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PutBudget.model_validate(body, by_alias=True, by_name=False)


@pytest.mark.parametrize(
    "body",
    [{"day": {"tokens": 0}}, {"month": {"cost": 0}}, {"day": {"cost": 1e-9}, "month": {"cost": 5, "tokens": None}}],
)
def test_a_budget_is_stored_as_it_was_given(body: dict[str, Any]) -> None:
    given = PutBudget.model_validate(body, by_alias=True, by_name=False)
    stored = StoreBudget(day=given.day, month=given.month)
    for period, limits in body.items():
        assert getattr(stored, period).model_dump(include=set(limits)) == limits
