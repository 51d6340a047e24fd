from datetime import UTC, datetime
from typing import Any

import pytest

from services.gateway.faces.responses.input_items import input_items
from services.gateway.faces.responses.items import turn_messages
from services.gateway.faces.responses.request import parse_response
from shared.contracts.errors import ApiError
from shared.contracts.turns import StoredTurn, Turn
from shared.ids import new_id

NOW = datetime.now(UTC)
CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "42"}


def read(*items: dict[str, Any], **more: Any) -> list[tuple[str, str | None, int]]:
    messages = turn_messages(items, NOW, **more)
    return [(message.role, message.content, len(message.tool_calls or ())) for message in messages]


def test_a_text_is_one_user_message() -> None:
    (message,) = turn_messages("hello", NOW)
    assert (message.role, message.content) == ("user", "hello")


def test_items_become_messages_and_a_call_joins_the_text_before_it() -> None:
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Let me look."}]}
    asked = {"role": "user", "content": [{"type": "input_text", "text": "one"}, {"type": "input_text", "text": "two"}]}
    second = {**CALL, "call_id": "c2"}
    found = read({"role": "developer", "content": "be brief"}, asked, said, CALL, second, OUTPUT)
    assert found == [
        ("system", "be brief", 0),
        ("user", "one\ntwo", 0),
        ("assistant", "Let me look.", 2),
        ("tool", "42", 0),
    ]


def test_items_of_an_earlier_answer_that_say_nothing_are_passed_over() -> None:
    told = {"type": "reasoning", "id": "rs_1", "summary": []}, {"type": "file_search_call", "id": "fs_1"}
    assert read(*told, {"role": "user", "content": "hi"}) == [("user", "hi", 0)]


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ({"type": "image_generation_call"}, "input[0].type"),
        ({"role": "tool", "content": "x"}, "input[0].role"),
        ({"role": "user"}, "input[0].content"),
        ({"role": "user", "content": [{"type": "input_image", "image_url": "data:"}]}, "input[0].content[0].type"),
        ({"role": "user", "content": [{"type": "input_text"}]}, "input[0].content[0].text"),
        ({"role": "user", "content": ["x"]}, "input[0].content[0].type"),
        ({**CALL, "call_id": ""}, "input[0].call_id"),
        ({**CALL, "arguments": {}}, "input[0].arguments"),
        ({**CALL, "name": 1}, "input[0].name"),
        (OUTPUT, "input[0].call_id"),
        ({"type": ["message"]}, "input[0].type"),
    ],
)
def test_an_item_that_cannot_be_read_is_refused_by_name(item: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as caught:
        turn_messages([item], NOW)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_an_output_may_answer_a_call_of_an_earlier_response() -> None:
    assert read(OUTPUT, goes_on=True) == [("tool", "42", 0)]


def test_stored_input_is_listed_as_it_was_sent() -> None:
    sent = [{"role": "user", "content": "hi"}, CALL, OUTPUT]
    turn = Turn(id=new_id("trn"), status="completed", agent_id=new_id("agt"), agent_version=1, created_at=NOW)
    listed = input_items(StoredTurn(turn=turn, input=turn_messages(sent, NOW)))
    assert [item["type"] for item in listed] == ["message", "function_call", "function_call_output"]
    assert listed[0]["content"] == [{"type": "input_text", "text": "hi"}]
    assert {name: listed[1][name] for name in CALL} == CALL
    assert {name: listed[2][name] for name in OUTPUT} == OUTPUT
    assert len({item["id"] for item in listed}) == 3


# --- the whole request


def test_parameters_are_translated_into_those_of_chat_completions() -> None:
    schema = {"type": "object", "properties": {}}
    body, ignored = parse_response(
        {
            "model": "pizza@3",
            "input": "hi",
            "instructions": "briefly",
            "max_output_tokens": 9,
            "reasoning": {"effort": "low", "summary": "auto"},
            "text": {"format": {"type": "json_schema", "name": "n", "schema": schema}, "verbosity": "low"},
            "tools": [{"type": "function", "name": "f", "parameters": schema}],
            "tool_choice": {"type": "function", "name": "f"},
            "service_tier": "auto",
            "made_up": 1,
            "bad name\r\n": 1,
        }
    )
    completion = body.completion(None)
    assert completion.parameters == {
        "max_completion_tokens": 9,
        "reasoning_effort": "low",
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
        "verbosity": "low",
    }
    assert completion.tools[0].function == {"name": "f", "parameters": schema}
    assert completion.tool_choice == {"type": "function", "function": {"name": "f"}}
    assert (completion.instructions, completion.store, completion.is_response) == ("briefly", True, True)
    assert ignored == ["made_up", "service_tier"]


def test_allowed_tools_leave_the_others_out() -> None:
    tools = [{"type": "function", "name": name} for name in ("f", "g")]
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]}
    body, _ = parse_response({"model": "m", "input": "hi", "tools": tools, "tool_choice": choice})
    completion = body.completion(None)
    assert ([tool.function["name"] for tool in completion.tools], completion.tool_choice) == (["g"], "required")


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"input": []}, "input"),
        ({"input": [1]}, "input"),
        ({"input": None}, "input"),
        ({"model": None}, "model"),
        ({"previous_response_id": "resp_1", "conversation": "ses_1"}, "previous_response_id"),
        ({"store": False, "background": True}, "store"),
        ({"store": False, "conversation": {"id": "ses_1"}}, "store"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tool_choice": {"type": "function", "name": "f"}}, "tool_choice"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"text": {"format": {"type": "xml"}}}, "text"),
        ({"conversation": 7}, "conversation"),
        ({"temperature": 3}, "temperature"),
        ({"prompt": {"id": "p"}}, "prompt"),
    ],
)
def test_a_member_at_fault_is_named(members: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_response({"model": "m", "input": "hi", **members})
    assert (caught.value.status, caught.value.param) == (400, param)
