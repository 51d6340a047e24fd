"""Each kind of expectation, met and not met."""

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from services.history.checks.evaluation import MAX_ANSWER, failures_of, is_part, step_result
from shared.contracts.checks import CheckStep
from shared.contracts.sessions import Citation, Retrieval
from shared.contracts.turns import StoredTurn

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PASSAGE = {"sourceId": "src_1", "title": "Opening Hours", "text": "Open from 11 to 22.", "score": 1.0}


def stored(*texts: str, calls: dict[str, str] | None = None, **turn: Any) -> StoredTurn:
    output: list[dict[str, Any]] = [
        {
            "id": "msg_1",
            "role": "assistant",
            "content": None,
            "toolCalls": [{"id": name, "name": name, "arguments": text} for name, text in (calls or {}).items()],
            "createdAt": NOW,
        },
        *({"id": "msg_2", "role": "assistant", "content": text, "createdAt": NOW} for text in texts),
    ]
    output[-1]["knowledge"] = [{"query": "hours", "passages": [PASSAGE]}]
    members = {
        "id": "trn_1",
        "status": "completed",
        "agentId": "agt_1",
        "agentVersion": 1,
        "finishReason": "stop",
        "usage": {"promptTokens": 7, "completionTokens": 3, "totalTokens": 10},
        "timing": {"totalMs": 250},
        "createdAt": NOW,
    }
    return StoredTurn.model_validate({"turn": members | turn, "output": output})


def test_a_guardrail_can_be_expected_to_act_or_not_to_act() -> None:
    act = {"stage": "output", "action": "block", "name": "cards"}
    turn = stored("No.", guardrails=[act], finishReason="content_filter")
    assert reasons({"guardrailActed": "cards"}, turn) == []
    assert reasons({"guardrailNotActed": "others"}, turn) == []
    assert reasons({"finishReason": "content_filter"}, turn) == []
    assert reasons({"guardrailActed": "others"}, turn) == ["The guardrail others did not act. These did: cards."]
    assert reasons({"guardrailNotActed": "cards"}, turn) == ["The guardrail cards acted."]


def reasons(expect: dict[str, Any], turn: StoredTurn) -> list[str]:
    step = CheckStep.model_validate({"user": "When?", "expect": [expect]})
    return [failure.message for failure in failures_of(step, 1, turn)]


@pytest.mark.parametrize(
    ("expect", "is_met"),
    [
        ({"contains": "FROM 11"}, True),
        ({"contains": "12"}, False),
        ({"doesNotContain": "sorry"}, True),
        ({"doesNotContain": "OPEN"}, False),
        ({"matches": r"\b1[12] o'clock"}, True),
        ({"matches": "^o'clock"}, False),
        ({"toolCalled": {"name": "find_table"}}, True),
        ({"toolCalled": {"name": "find_table", "arguments": {"day": {"name": "sunday"}}}}, True),
        ({"toolCalled": {"name": "find_table", "arguments": {"day": {"name": "monday"}}}}, False),
        ({"toolCalled": {"name": "order"}}, False),
        ({"toolNotCalled": "order"}, True),
        ({"toolNotCalled": "find_table"}, False),
        ({"passageRetrieved": {"title": "opening"}}, True),
        ({"passageRetrieved": {"sourceId": "src_1", "contains": "to 22"}}, True),
        ({"passageRetrieved": {"sourceId": "src_2", "contains": "to 22"}}, False),
        ({"passageCited": {"title": "opening"}}, False),
        ({"finishReason": "stop"}, True),
        ({"finishReason": "length"}, False),
        ({"maxLatencyMs": 250}, True),
        ({"maxLatencyMs": 249}, False),
        ({"maxTokens": 10}, True),
        ({"maxTokens": 9}, False),
        ({"rubric": "It is kind."}, True),
    ],
)
def test_an_expectation_is_met_or_gives_one_reason(expect: dict[str, Any], is_met: bool) -> None:
    call = '{"day": {"name": "sunday", "n": 7}, "x": 1}'
    turn = stored("We open.", "It is from 11 o'clock.", calls={"find_table": call})
    assert len(reasons(expect, turn)) == (0 if is_met else 1)


def test_a_failed_turn_is_the_only_reason() -> None:
    turn = stored("Hello", status="failed", error={"code": "upstream_error", "detail": "The model did not answer."})
    assert reasons({"contains": "nothing"}, turn) == ["The turn failed with upstream_error: The model did not answer."]
    assert reasons({"contains": "nothing"}, stored("Hello", status="cancelled")) == ["The turn was cancelled."]


def test_a_reason_shows_what_was_called_instead() -> None:
    expect = {"toolCalled": {"name": "find_table", "arguments": {"day": "sunday"}}}
    assert reasons(expect, stored("", calls={"find_table": '{"day":"monday"}'})) == [
        'find_table was called with {"day":"monday"}, which does not contain {"day":"sunday"}.'
    ]


def test_a_pattern_that_would_take_exponential_time_elsewhere_is_answered_at_once() -> None:
    started = time.process_time()
    assert reasons({"matches": "^(a+)+$"}, stored("a" * 50_000 + "b"))
    assert time.process_time() - started < 5  # With backtracking it would not end in a lifetime.


def test_a_cited_passage_is_found_by_its_name_and_by_the_text_of_its_retrieval() -> None:
    turn = stored("We open at 11 [1].")
    named = {"sourceId": "src_1", "title": "Opening Hours"}
    citation = Citation.model_validate({"marker": 1, "start": 14, "end": 17, "passage": named})
    retrieval = Retrieval.model_validate({"query": "hours", "passages": [PASSAGE | {"marker": 1}]})
    message = turn.output[-1].model_copy(update={"citations": (citation,), "knowledge": (retrieval,)})
    turn = turn.model_copy(update={"output": (message,)})
    assert reasons({"passageCited": {"sourceId": "src_1", "contains": "11 to"}}, turn) == []
    assert reasons({"passageCited": {"title": "menu"}}, turn) == [
        'No passage with {"title":"menu"} was cited. These were: ["Opening Hours"]'
    ]


def test_a_result_keeps_the_start_of_a_long_answer() -> None:
    result = step_result(stored("x" * 9000, calls={"find_table": "{}"}))
    assert (len(result.answer), result.tool_calls, result.latency_ms) == (MAX_ANSWER, ("find_table",), 250)


@pytest.mark.parametrize(
    ("wanted", "given", "is_in"),
    [
        ({}, {"a": 1}, True),
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": True}, {"a": 1}, False),
        ({"a": [1, 2]}, {"a": [1, 2, 3]}, False),
        ({"a": [{"b": 1}]}, {"a": [{"b": 1, "c": 2}]}, True),
        ({"a": None}, {}, False),
        ({}, "not an object", False),
    ],
)
def test_arguments_contain_what_is_wanted(wanted: Any, given: Any, is_in: bool) -> None:
    assert is_part(wanted, given) is is_in
