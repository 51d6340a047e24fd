"""Opaque members of an answer: kept, sent back to the server that wrote them, and to no other."""

from typing import Any

from services.agent_worker.model.answer import Answer
from services.agent_worker.model.request import body_of
from services.agent_worker.tools.result import ToolResult
from services.agent_worker.turns.conversation import valid
from services.agent_worker.turns.state import TurnState
from services.agent_worker.turns.steps import CallModel
from shared.contracts.companions import companions_of, upstream_tag
from tests.unit.agent_worker.conftest import Make

CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
SIGNATURE = {"google": {"thought_signature": "EjQKMg=="}}


def answered(*deltas: dict[str, Any], upstream: str = "default", reason: str = "tool_calls") -> Answer:
    answer = Answer("stem", upstream=upstream)
    for delta in deltas:
        answer.add({"choices": [{"index": 0, "delta": delta}]})
    answer.add({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    return answer


def sent_after(make: Make, answer: Answer, upstream: str = "default", omitted: frozenset[str] = frozenset()) -> Any:
    """The assistant message as the next model call sends it."""
    state = TurnState(make.agent(tools=[make.tool()]), make.claimed(), None)
    state.answered(answer, "msg_1", make.now)
    state.ran([ToolResult(call=call, ok=True, text="7") for call in answer.tool_calls], ["msg_2"], make.now)
    step = state.next()
    assert isinstance(step, CallModel)
    return body_of("m", {"messages": valid(step.messages)}, upstream, omitted)["messages"][2]


def test_a_thought_signature_goes_back_with_its_call(make: Make) -> None:
    sent = sent_after(make, answered({"tool_calls": [CALL | {"extra_content": SIGNATURE}]}))
    assert sent["tool_calls"][0]["extra_content"] == SIGNATURE
    assert "parley_companions" not in sent
    assert "parley_companions" not in sent["tool_calls"][0]


def test_companions_go_to_no_other_upstream(make: Make) -> None:
    delta = {"reasoning_content": "Hm.", "tool_calls": [CALL | {"extra_content": SIGNATURE}]}
    sent = sent_after(make, answered(delta), upstream="other")
    assert set(sent) == {"role", "content", "tool_calls"}
    assert set(sent["tool_calls"][0]) == {"id", "type", "function"}


def test_reasoning_goes_back_whole_beside_its_calls(make: Make) -> None:
    sent = sent_after(make, answered({"reasoning_content": "H"}, {"reasoning_content": "m."}, {"tool_calls": [CALL]}))
    assert sent["reasoning_content"] == "Hm."


def test_the_pieces_of_reasoning_details_are_joined_as_they_belong_together(make: Make) -> None:
    first = {"type": "reasoning.text", "text": "H", "index": 0, "format": "f"}
    second = {"type": "reasoning.text", "text": "m.", "index": 0, "signature": "sig"}
    sealed = {"type": "reasoning.encrypted", "data": "xyz", "index": 1}
    deltas = [{"reasoning_details": [item]} for item in (first, second, sealed)]
    sent = sent_after(make, answered(*deltas, {"tool_calls": [CALL]}))
    whole = {"type": "reasoning.text", "text": "Hm.", "index": 0, "format": "f", "signature": "sig"}
    assert sent["reasoning_details"] == [whole, sealed]


def test_thinking_blocks_keep_their_signatures(make: Make) -> None:
    blocks = [
        {"type": "thinking", "thinking": "H", "signature": ""},
        {"type": "thinking", "thinking": "m.", "signature": ""},
        {"type": "thinking", "thinking": "", "signature": "sig"},
        {"type": "thinking", "thinking": "So.", "signature": "sig2"},
        {"type": "redacted_thinking", "data": "xyz"},
    ]
    deltas = [{"thinking_blocks": [block]} for block in blocks]
    sent = sent_after(make, answered(*deltas, {"tool_calls": [CALL]}))
    assert sent["thinking_blocks"] == [
        {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
        {"type": "thinking", "thinking": "So.", "signature": "sig2"},
        {"type": "redacted_thinking", "data": "xyz"},
    ]


def test_thinking_parts_go_back_inside_the_content(make: Make) -> None:
    thinking = [{"type": "thinking", "thinking": [{"type": "text", "text": piece}]} for piece in ("H", "m.")]
    sent = sent_after(
        make, answered(*({"content": [part]} for part in thinking), {"content": "Wait.", "tool_calls": [CALL]})
    )
    assert sent["content"] == [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
        {"type": "text", "text": "Wait."},
    ]


def test_a_member_that_the_upstream_refuses_stays_away(make: Make) -> None:
    answer = answered({"reasoning_content": "Hm.", "tool_calls": [CALL | {"extra_content": SIGNATURE}]})
    sent = sent_after(make, answer, omitted=frozenset({"reasoning_content", "extra_content"}))
    assert set(sent) == {"role", "content", "tool_calls"}
    assert set(sent["tool_calls"][0]) == {"id", "type", "function"}


def test_an_answer_without_calls_keeps_no_companions() -> None:
    answer = answered({"reasoning_content": "Hm."}, {"content": "Hello"}, reason="stop")
    assert answer.companions is None
    assert not answer.has_companions


def test_call_ids_of_up_to_4096_characters_pass() -> None:
    ids = ["x" * 4096, "y" * 4097]
    answer = answered(*({"tool_calls": [CALL | {"index": index, "id": name}]} for index, name in enumerate(ids)))
    assert [call.id for call in answer.tool_calls] == ["x" * 4096, "call_stem_1"]


def test_keys_that_stores_refuse_are_inside_a_text(make: Make) -> None:
    members = {"extra_content": {"$where": 1, "a.b": "\x00", "half": "\ud83d"}}
    (call,) = answered({"tool_calls": [CALL | members]}).tool_calls
    assert call.companions is not None
    call.companions.encode()
    assert "\x00" not in call.companions
    assert companions_of(call.companions)["extra_content"]["half"] == "\ufffd"


def test_a_session_shows_no_companions_and_a_completion_does(make: Make) -> None:
    state = TurnState(make.agent(tools=[make.tool()]), make.claimed(), None)
    answer = answered({"reasoning_content": "Hm.", "tool_calls": [CALL | {"extra_content": SIGNATURE}]})
    state.answered(answer, "msg_1", make.now)
    in_session = state.output[0].public("ses_1", "trn_1")
    assert "companions" not in str(in_session)
    assert "upstream" not in in_session
    in_completion = state.output[0].public(None, "trn_1")
    assert in_completion["upstream"] == "default"
    assert companions_of(in_completion["toolCalls"][0]["companions"]) == {"extra_content": SIGNATURE}


def test_what_a_caller_sends_back_goes_to_the_upstream_that_it_names(make: Make) -> None:
    for named, sent_to in (
        (upstream_tag("default"), {"default"}),
        (upstream_tag("other"), {"other"}),
        (None, {"default"}),
    ):
        call = {"id": "a", "name": "x", "arguments": "{}", "companions": '{"extra_content":{"a":1}}'}
        message = make.message("assistant", None, toolCalls=[call], upstream=named)
        claimed = make.claimed(make.message(), message, make.message("tool", "1", toolCallId="a"))
        step = TurnState(make.agent(), claimed, None).next()
        assert isinstance(step, CallModel)
        got = {
            upstream
            for upstream in ("default", "other")
            if "extra_content" in str(body_of("m", {"messages": valid(step.messages)}, upstream, ())["messages"])
        }
        assert got == sent_to
