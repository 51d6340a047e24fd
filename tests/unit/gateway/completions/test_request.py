"""The body of a chat completion: every member that OpenAI documents has its rule, and only what is asked counts as the
same request.
"""

from datetime import UTC, datetime
from typing import Any

import pytest
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)

from services.gateway.completions.request import IGNORED, PASSED, ChatCompletion, parse_completion
from shared.contracts.errors import ApiError

DOCUMENTED = sorted(
    CompletionCreateParamsNonStreaming.__annotations__.keys() | CompletionCreateParamsStreaming.__annotations__.keys()
)
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
SENT: dict[str, Any] = {
    "temperature": 0, "top_p": 1, "max_tokens": 5, "max_completion_tokens": 6, "stop": ["a", "b"], "seed": -1,
    "frequency_penalty": -2, "presence_penalty": 2,
    "response_format": {"type": "json_object"}, "reasoning_effort": "high", "verbosity": "low",
    "logit_bias": {"50256": -100}, "parallel_tool_calls": True,
}  # fmt: skip
UNHEEDED: dict[str, Any] = {
    "function_call": "auto", "functions": [{"name": "f"}], "logprobs": True, "moderation": {"x": 1},
    "prediction": {"type": "content", "content": "x"}, "prompt_cache_key": "k", "prompt_cache_options": {"x": 1},
    "prompt_cache_retention": "24h", "service_tier": "flex", "top_logprobs": 3,
    "web_search_options": {"search_context_size": "low"},
}  # fmt: skip


def asking(**more: Any) -> dict[str, Any]:
    return {"model": "agt_x", "messages": [{"role": "user", "content": "hi"}], **more}


def parsed(**more: Any) -> ChatCompletion:
    return parse_completion(asking(**more))[0]


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_member_that_openai_documents_is_understood_or_ignored_by_name(name: str) -> None:
    assert (name in ChatCompletion.model_fields) != (name in IGNORED)


def test_generation_parameters_go_on_as_they_were_sent() -> None:
    assert set(SENT) == set(PASSED)
    request, ignored = parse_completion(asking(**SENT))
    assert request.completion().parameters == SENT
    assert ignored == []


def test_whoever_talks_to_the_agent_is_known_by_either_of_openais_names() -> None:
    named: list[dict[str, Any]] = [
        {"user": "u"},
        {"user": "u", "safety_identifier": "s"},
        {"user": 7},
        {"user": "x" * 201},
        {},
    ]
    users = [parsed(**members).completion().end_user for members in named]
    assert [user.id if user else None for user in users] == ["u", "s", None, None, None]


def test_what_is_ignored_is_named_and_goes_nowhere() -> None:
    assert set(UNHEEDED) == set(IGNORED)
    request, ignored = parse_completion(asking(**UNHEEDED, frobnicate=1, **{"bad\r\nname": 1}))
    assert ignored == sorted([*UNHEEDED, "frobnicate"])
    assert request.completion().parameters == {}


def test_what_was_sent_as_null_was_not_sent() -> None:
    nothing = {name: None for name in DOCUMENTED if name not in ("model", "messages")}
    request, ignored = parse_completion(asking(**nothing))
    assert (request.completion(), ignored) == (parsed().completion(), [])


@pytest.mark.parametrize(
    ("message", "role", "content"),
    [
        ({"role": "system", "content": "x"}, "system", "x"),
        ({"role": "developer", "content": "x"}, "system", "x"),
        ({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "user", "a\nb"),
        ({"role": "assistant", "content": "x"}, "assistant", "x"),
        ({"role": "assistant", "content": None, "refusal": "no"}, "assistant", "no"),
        ({"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}, "assistant", "no"),
    ],
)
def test_messages_of_every_role_and_shape_are_taken(message: dict[str, Any], role: str, content: str) -> None:
    request, _ = parse_completion({"model": "agt_x", "messages": [message]})
    (stored,) = request.stored_messages(datetime.now(UTC))
    assert (stored.role, stored.content) == (role, content)


def test_a_tools_result_follows_its_call() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    calling = {"role": "assistant", "content": None, "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "sunny"}]}
    request, _ = parse_completion(asking(messages=[{"role": "user", "content": "hi"}, calling, result]))
    _, asked, answered = request.stored_messages(datetime.now(UTC))
    assert asked.tool_calls is not None
    assert [(made.id, made.name, made.arguments) for made in asked.tool_calls] == [("c1", "weather", "{}")]
    assert (answered.tool_call_id, answered.content) == ("c1", "sunny")
    with pytest.raises(ApiError):
        parse_completion(asking(messages=[calling, result | {"tool_call_id": "c2"}]))


@pytest.mark.parametrize("pairs", [{str(number): "x" for number in range(17)}, {"k" * 65: "x"}, {"k": "x" * 513}])
def test_metadata_that_is_stored_is_bounded(pairs: dict[str, str]) -> None:
    with pytest.raises(ApiError) as raised:
        parsed(metadata=pairs, store=True)
    assert str(raised.value.param).startswith("metadata")


@pytest.mark.parametrize(
    "metadata",
    [{"callId": 7}, {"call": {"from": "+43"}}, {"tags": ["a"]}, {"k": None}, {"k": "x" * 513}, ["a"], "a", 1, True],
)
@pytest.mark.parametrize("store", [{}, {"store": False}, {"store": None}])
def test_metadata_of_another_shape_is_ignored_and_named_unless_it_is_stored(metadata: Any, store: Any) -> None:
    request, ignored = parse_completion(asking(metadata=metadata, service_tier="flex", **store))
    assert (request.metadata, ignored) == (None, ["metadata", "service_tier"])
    assert request.digest() == parsed(**store).digest()
    with pytest.raises(ApiError) as raised:
        parsed(metadata=metadata, store=True)
    assert str(raised.value.param).startswith("metadata")


def test_metadata_of_openais_shape_is_kept_without_store() -> None:
    request, ignored = parse_completion(asking(metadata={"k": "v"}))
    assert (request.completion().metadata, ignored) == ({"k": "v"}, [])


def _call(call_id: str) -> dict[str, Any]:
    call = {"id": call_id, "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def test_call_ids_may_carry_four_kilobytes_and_no_more() -> None:
    question, long = {"role": "user", "content": "hi"}, "x" * 4096
    result = {"role": "tool", "content": "sunny", "tool_call_id": long}
    request, _ = parse_completion(asking(messages=[question, _call(long), result]))
    _, asked, answered = request.stored_messages(datetime.now(UTC))
    assert asked.tool_calls is not None
    assert asked.tool_calls[0].id == answered.tool_call_id == long
    with pytest.raises(ApiError):
        parse_completion(asking(messages=[question, _call(long + "x")]))


def test_a_tools_result_may_come_after_the_next_user_message() -> None:
    question, result = {"role": "user", "content": "hi"}, {"role": "tool", "content": "sunny", "tool_call_id": "c1"}
    request, _ = parse_completion(asking(messages=[question, _call("c1"), question, result]))
    assert [message.role for message in request.stored_messages(datetime.now(UTC))] == [
        "user", "assistant", "user", "tool",
    ]  # fmt: skip
    with pytest.raises(ApiError):
        parse_completion(asking(messages=[result, _call("c1")]))


@pytest.mark.parametrize(
    ("messages", "nothing"),
    [
        ([{"role": "system", "content": ""}], True),
        ([{"role": "developer", "content": " \n"}], True),
        ([{"role": "system", "content": [{"type": "text", "text": ""}]}, {"role": "developer", "content": ""}], True),
        ([{"role": "system", "content": ""}, {"role": "assistant", "content": ""}], True),
        ([{"role": "assistant", "refusal": ""}], True),
        ([{"role": "system", "content": "x"}], False),
        ([{"role": "system", "content": ""}, {"role": "user", "content": "x"}], False),
        ([{"role": "user", "content": ""}], False),
        ([_call("c1")], False),
    ],
)
def test_messages_without_any_text_are_recognised(messages: list[dict[str, Any]], nothing: bool) -> None:
    assert parse_completion(asking(messages=messages))[0].says_nothing is nothing


def test_how_an_answer_is_delivered_does_not_make_another_request() -> None:
    same = (
        {"stream": True},
        {"stream_options": {"include_usage": True}},
        {"n": 1},
        {"user": "u"},
        {"modalities": ["text"]},
    )
    assert {parsed(**more).digest() for more in same} == {parsed().digest()}


@pytest.mark.parametrize(
    "more",
    [
        {"messages": [{"role": "user", "content": "hi!"}]}, {"model": "agt_y"}, {"temperature": 0.5}, {"tools": [TOOL]},
        {"tools": [TOOL], "tool_choice": "required"}, {"store": True}, {"metadata": {"k": "v"}},
        {"response_format": {"type": "text"}},
    ],
)  # fmt: skip
def test_what_is_asked_makes_another_request(more: dict[str, Any]) -> None:
    assert parsed(**more).digest() not in {parsed().digest(), parsed(tools=[TOOL], tool_choice="none").digest()}
