import pytest

from shared.contracts.templates import is_known, missing, names_in, render


def test_variables_are_replaced_once_and_values_are_not_templates() -> None:
    values = {"plan": "{{now}}", "now": "2026-01-31T09:00:00.000Z", "endUser.name": "Ada"}
    text = "Hello {{ endUser.name }}, you are on {{plan}} at {{now}}. {{ endUser.name}}!"
    assert render(text, values) == "Hello Ada, you are on {{now}} at 2026-01-31T09:00:00.000Z. Ada!"


def test_a_text_without_variables_is_itself() -> None:
    assert render("Use {single} braces { { freely } }.", {}) == "Use {single} braces { { freely } }."


def test_names_are_listed_once_in_their_order() -> None:
    assert names_in("{{b}} {{ a }} {{b}} {{not a name}}") == ["b", "a", "not a name"]


@pytest.mark.parametrize("name", ["plan", "order_id", "now", "today", "agent.name", "endUser.id", "endUser.tier"])
def test_known_names(name: str) -> None:
    assert is_known(name)


@pytest.mark.parametrize(
    "name", ["", "not a name", "agent.secret", "a.b.c", "7up", "__class__.__init__", "plan|upper", "x" * 65]
)
def test_unknown_names(name: str) -> None:
    assert not is_known(name)


def test_missing_names_are_those_without_a_value_and_not_built_in() -> None:
    assert missing(["{{now}} {{plan}}", "{{tier}} {{plan}}"], {"tier": "gold"}) == ["plan"]
