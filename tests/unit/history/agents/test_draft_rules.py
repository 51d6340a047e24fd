from typing import Any

import pytest

from services.history import document_faults
from services.history.agents.draft_rules import MAX_DRAFT, checked_draft
from shared.contracts.agents import AgentConfig
from shared.contracts.errors import ApiError, Code

DRAFT = {"name": "Mia", "model": {"name": "m"}}


def faults(draft: dict[str, Any], upstreams: tuple[str, ...] = ()) -> dict[str, str]:
    with pytest.raises(ApiError) as caught:
        checked_draft(draft, upstreams)
    assert caught.value.code is Code.VALIDATION_FAILED
    return {fault["field"]: fault["message"] for fault in caught.value.errors}


def test_a_whole_draft_is_a_configuration() -> None:
    config = checked_draft(DRAFT | {"instructions": "It is {{now}}. Plan: {{plan}}. {{endUser.name}}"}, ("default",))
    assert (config.name, config.model.upstream) == ("Mia", "default")


def test_a_misspelt_member_is_refused_with_the_nearest_name() -> None:
    assert faults(DRAFT | {"instrutions": "x"}) == {"instrutions": "is not a known member. Did you mean instructions?"}


def test_an_unknown_upstream_is_refused_with_the_known_ones() -> None:
    draft = DRAFT | {"model": {"name": "m", "upstream": "opanai"}, "fallbackModels": [{"name": "n", "upstream": "x"}]}
    found = faults(draft, ("default", "openai"))
    assert found["model.upstream"] == "There is no upstream 'opanai'. Known: default, openai."
    assert "fallbackModels.0.upstream" in found


def test_a_variable_that_no_session_can_give_is_refused() -> None:
    assert "{{agent.password}} is not a variable" in faults(DRAFT | {"greeting": "{{agent.password}}"})["greeting"]


def test_a_guardrail_that_cannot_work_is_refused() -> None:
    words = {"kind": "patterns", "name": "words", "stage": "input", "patterns": ["ok", "(open"]}
    found = faults(DRAFT | {"guardrails": [words]})
    assert "RE2" in found["guardrails.0.patterns.1"]
    backreference = words | {"patterns": [r"(a)\1"]}
    assert list(faults(DRAFT | {"guardrails": [backreference]})) == ["guardrails.0.patterns.0"]
    good = words | {"patterns": ["^(a+)+$"]}
    assert faults(DRAFT | {"guardrails": [good, good]}) == {"draft": "two guardrails have the name words"}
    hook = {"kind": "http", "name": "hook", "stage": "output", "url": "https://example.org/", "timeoutS": 1}
    assert list(faults(DRAFT | {"guardrails": [hook]})) == ["guardrails.0.http.signingSecret"]
    secret = {"value": "whsec_" + "a" * 32}
    hook["signingSecret"] = secret
    for wrong in (
        {"timeoutS": 11},
        {"signingSecret": {"value": "short"}},
        {"url": "ftp://example.org"},
        {"url": "https://example.org/{path}"},
        {"onFailure": "retry"},
        {"stage": "both"},
        {"kind": "lua"},
        {"message": ""},
        {"more": 1},
    ):
        assert len(faults(DRAFT | {"guardrails": [hook | wrong]})) == 1, wrong
    assert checked_draft(DRAFT | {"guardrails": [hook, good]}, ()).guards_input


def test_two_tools_of_one_name_are_refused() -> None:
    tool = {"kind": "http", "name": "look_up", "url": "https://example.org/"}
    assert faults(DRAFT | {"tools": [tool, tool]}) == {"draft": "two tools have the name look_up"}


def test_a_draft_above_256_kib_is_refused() -> None:
    with pytest.raises(ApiError) as caught:
        checked_draft(DRAFT | {"description": "x" * MAX_DRAFT}, ())
    assert caught.value.code is Code.PAYLOAD_TOO_LARGE


def test_a_missing_name_is_named() -> None:
    assert faults({"model": {"name": "m"}}) == {"name": "Field required"}


def test_a_wrong_item_of_a_list_is_the_only_fault_of_the_list() -> None:
    tool = {"kind": "mcp", "name": "crm", "url": "https://example.org/", "allow": [7]}
    (field,) = faults(DRAFT | {"tools": [tool]})
    assert field.endswith("allow.0")
    (field,) = faults(DRAFT | {"tools": [{**tool, "allow": []}]})
    assert field.endswith("allow")


@pytest.mark.parametrize("tool", [None, 7, "x", [None], {"kind": None}, {"kind": ["http"]}, {"kind": "ftp"}])
def test_what_is_no_tool_is_refused_and_not_a_crash(tool: Any) -> None:
    assert all(field.startswith("tools") for field in faults(DRAFT | {"tools": [tool]}))


def test_a_pattern_of_the_redaction_must_be_one_of_re2s_and_match_something() -> None:
    patterns = [{"name": "a", "pattern": "("}, {"name": "b", "pattern": "x*"}, {"name": "c", "pattern": "x+"}]
    found = faults(DRAFT | {"redaction": {"patterns": patterns}})
    assert "RE2" in found["redaction.patterns.0.pattern"]
    assert "empty text" in found["redaction.patterns.1.pattern"]
    assert found.keys() == {"redaction.patterns.0.pattern", "redaction.patterns.1.pattern"}
    assert "redaction.kinds.0" in faults(DRAFT | {"redaction": {"kinds": ["name"]}})


def test_ten_thousand_unknown_members_cost_one_look_at_the_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making the schema for each of them stopped history for minutes."""
    made, schema = list[dict[str, Any]](), AgentConfig.model_json_schema

    def counted(**given: Any) -> dict[str, Any]:
        made.append(schema(**given))
        return made[-1]

    monkeypatch.setattr(AgentConfig, "model_json_schema", counted)
    document_faults._members_of.cache_clear()
    found = faults(DRAFT | {f"m{number}": 0 for number in range(10_000)} | {"x" * 100_000: 0})
    assert len(found) == document_faults.MAX_FAULTS
    assert len(made) == 1
