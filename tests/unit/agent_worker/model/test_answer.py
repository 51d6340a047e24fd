import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.agent_worker.model.answer import Answer
from services.agent_worker.model.chunks import BadChunk, load_chunk
from services.agent_worker.model.faults import ModelFault
from services.agent_worker.model.tool_calls import MAX_CALLS


def text_chunk(text: str, reason: str | None = None) -> bytes:
    return json.dumps({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}]}).encode()


def call_chunk(**piece: Any) -> dict[str, Any]:
    return {"choices": [{"delta": {"tool_calls": [piece]}, "finish_reason": None}]}


def loaded(payload: bytes) -> dict[str, Any]:
    chunk = load_chunk(payload)
    assert chunk is not None
    return chunk


def end_chunk(reason: str = "stop") -> dict[str, Any]:
    return {"choices": [{"delta": {}, "finish_reason": reason}]}


def told(payloads: list[bytes]) -> str:
    answer = Answer()
    return "".join([*(answer.add(loaded(payload)) for payload in payloads), answer.flush()])


def test_a_character_cut_into_surrogates_is_joined() -> None:
    payloads = [b'{"choices":[{"delta":{"content":"a\\ud83d"}}]}', b'{"choices":[{"delta":{"content":"\\ude00b"}}]}']
    assert told(payloads) == "a😀b"


def test_half_a_character_is_held_back_and_never_shown() -> None:
    answer = Answer()
    assert answer.add(loaded(b'{"choices":[{"delta":{"content":"a\\ud83d"}}]}')) == "a"
    assert answer.add({"choices": [{"delta": {}}]}) == ""
    assert answer.add(loaded(b'{"choices":[{"delta":{"content":"\\ude00"}}]}')) == "😀"


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (["\\ud83d"], "\ufffd"),
        (["\\ude00x"], "\ufffdx"),
        (["\\ud83d", "x"], "\ufffdx"),
        (["\\ud83d", "\\ud83d", "\\ude00"], "\ufffd😀"),
    ],
)
def test_lone_halves_become_replacement_characters(content: list[str], shown: str) -> None:
    assert told([b'{"choices":[{"delta":{"content":"%s"}}]}' % piece.encode() for piece in content]) == shown


def test_half_a_character_at_the_finish_is_told_with_it() -> None:
    answer = Answer()
    answer.add(loaded(b'{"choices":[{"delta":{"content":"\\ud83d"}}]}'))
    assert answer.add(end_chunk()) == "\ufffd"
    assert answer.text == ["\ufffd"]


@given(st.text(), st.lists(st.integers(0, 50), max_size=5))
def test_text_cut_between_utf16_units_arrives_whole(text: str, cuts: list[int]) -> None:
    units = [text.encode("utf-16-le")[at : at + 2] for at in range(0, len(text.encode("utf-16-le")), 2)]
    edges = [0, *sorted(min(cut, len(units)) for cut in cuts), len(units)]
    pieces = [b"".join(units[a:b]).decode("utf-16-le", "surrogatepass") for a, b in pairwise(edges)]
    assert told([text_chunk(piece) for piece in pieces]) == text


def test_tool_calls_are_put_together_by_index() -> None:
    answer = Answer()
    answer.add(call_chunk(index=1, id="call_b", function={"name": "second", "arguments": ""}))
    answer.add(call_chunk(index=0, id="call_a", function={"name": "first", "arguments": '{"x"'}))
    answer.add(call_chunk(index=1, function={"arguments": "{}"}))
    answer.add(call_chunk(index=0, function={"arguments": ":1}"}))
    answer.add(end_chunk("tool_calls"))
    assert [(call.id, call.name, call.arguments) for call in answer.tool_calls] == [
        ("call_a", "first", '{"x":1}'),
        ("call_b", "second", "{}"),
    ]
    assert answer.finish_reason == "tool_calls"


def test_calls_without_an_index_or_with_the_same_are_told_apart_by_id() -> None:
    answer = Answer()
    answer.add(call_chunk(id="a", function={"name": "one", "arguments": "{}"}))
    answer.add(call_chunk(id="b", function={"name": "two", "arguments": "{"}))
    answer.add(call_chunk(function={"arguments": "}"}))
    assert [(call.name, call.arguments) for call in answer.tool_calls] == [("one", "{}"), ("two", "{}")]


def test_a_repeated_name_is_not_doubled_and_a_missing_id_is_made() -> None:
    answer = Answer("stem")
    answer.add(call_chunk(index=0, function={"name": "one", "arguments": "{"}))
    answer.add(call_chunk(index=0, function={"name": "one", "arguments": "}"}))
    assert [(call.id, call.name, call.arguments) for call in answer.tool_calls] == [("call_stem_0", "one", "{}")]


def test_an_answer_that_was_cut_off_has_no_calls() -> None:
    answer = Answer()
    answer.add(call_chunk(index=0, id="a", function={"name": "one", "arguments": '{"amount": 1'}))
    answer.add(end_chunk("length"))
    assert answer.tool_calls == ()
    assert answer.finish_reason == "length"


def test_calls_that_end_with_stop_still_wait_for_their_results() -> None:
    answer = Answer()
    answer.add(call_chunk(index=0, id="a", function={"name": "one", "arguments": "{}"}))
    answer.add(end_chunk("stop"))
    assert answer.finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("said", "meant"),
    [("stop", "stop"), ("max_tokens", "length"), ("content_filter", "content_filter"), ("eos", "stop")],
)
def test_finish_reasons_are_translated(said: str, meant: str) -> None:
    answer = Answer()
    before = answer.has_reason
    answer.add(loaded(text_chunk("x", said)))
    assert (before, answer.has_reason) == (False, True)
    assert answer.finish_reason == meant


def test_usage_is_the_last_that_was_reported() -> None:
    answer = Answer()
    answer.add({"choices": [{"delta": {"content": "a"}}], "usage": {"prompt_tokens": 5, "completion_tokens": 1}})
    usage = {
        "prompt_tokens": 5,
        "completion_tokens": 2,
        "total_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 4},
    }
    answer.add({"choices": [], "usage": usage | {"completion_tokens_details": None}})
    assert answer.usage is not None
    assert answer.usage.wire() == {"promptTokens": 5, "completionTokens": 2, "totalTokens": 7, "cachedTokens": 4}


@pytest.mark.parametrize(
    "usage",
    [None, {}, {"prompt_tokens": -1, "completion_tokens": 2}, {"prompt_tokens": True, "completion_tokens": 2}, [1]],
)
def test_usage_that_cannot_be_believed_is_none(usage: Any) -> None:
    answer = Answer()
    answer.add({"choices": [], "usage": usage})
    assert answer.usage is None


@pytest.mark.parametrize(
    "chunk",
    [
        {"choices": 7},
        {"choices": ["x"]},
        {"choices": [{"delta": "x"}]},
        {"choices": [{"delta": {"content": 7}}]},
        {"choices": [{"delta": {"content": {"a": 1}}}]},
        {"choices": [{"delta": {"tool_calls": 7}}]},
        {"choices": [{"delta": {"tool_calls": [7]}}]},
        {"choices": [{"delta": {"tool_calls": [{"function": 7}]}}]},
        {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"name": 7}}]}}]},
    ],
)
def test_a_malformed_chunk_is_a_bad_chunk_and_nothing_else(chunk: dict[str, Any]) -> None:
    with pytest.raises(BadChunk):
        Answer().add(chunk)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "choices",
                        "delta",
                        "content",
                        "tool_calls",
                        "index",
                        "id",
                        "function",
                        "name",
                        "arguments",
                        "usage",
                        "finish_reason",
                        "refusal",
                    ]
                ),
                inner,
                max_size=5,
            )
        ),
        max_leaves=20,
    )
)
def test_no_chunk_crashes_an_answer(value: Any) -> None:
    answer = Answer()
    try:
        answer.add({"choices": [value]})
        answer.add({"choices": [{"delta": value, "finish_reason": value}], "usage": value})
        answer.add({"choices": [{"delta": {"tool_calls": [value]}}]})
    except (BadChunk, ModelFault):
        pass
    assert all(isinstance(call.arguments, str) for call in answer.tool_calls)
    _ = answer.finish_reason, answer.usage


@pytest.mark.parametrize("payload", [b"", b"ping", b"[1]", b"7", b"null", b"\xff", b'"keep-alive"'])
def test_what_is_no_object_is_noise(payload: bytes) -> None:
    assert load_chunk(payload) is None


@pytest.mark.parametrize("payload", [b"{", b'{"choices":[{"delta":{"content":"Hel', b"[" * 100_000])
def test_an_object_that_is_cut_is_a_bad_chunk(payload: bytes) -> None:
    with pytest.raises(BadChunk):
        load_chunk(payload)


def test_ten_thousand_calls_are_refused() -> None:
    answer = Answer()
    for index in range(MAX_CALLS):
        answer.add(call_chunk(index=index, function={"name": "x", "arguments": ""}))
    with pytest.raises(BadChunk):
        answer.add(call_chunk(index=MAX_CALLS, function={"name": "x", "arguments": ""}))


def test_thoughts_are_not_shown_but_show_that_the_model_has_begun() -> None:
    answer = Answer()
    assert answer.add({"choices": [{"delta": {"role": "assistant", "content": ""}}]}) == ""
    before = answer.started
    assert answer.add({"choices": [{"delta": {"reasoning_content": "hm"}}]}) == ""
    assert (before, answer.started) == (False, True)
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "so"}]
    assert answer.add({"choices": [{"delta": {"content": parts}}]}) == "so"


def test_a_refusal_is_told() -> None:
    assert Answer().add({"choices": [{"delta": {"content": None, "refusal": "I will not."}}]}) == "I will not."


@pytest.mark.parametrize("reasons", [("mystery", "tool_calls"), ("tool_calls", "mystery"), ("stop", "tool_calls")])
def test_of_two_finish_reasons_a_known_one_counts(reasons: tuple[str, str]) -> None:
    answer = Answer()
    answer.add(call_chunk(index=0, id="a", function={"name": "one", "arguments": "{}"}))
    for reason in reasons:
        answer.add(end_chunk(reason))
    assert answer.finish_reason == "tool_calls"


@pytest.mark.parametrize("reasons", [("length", "stop"), ("stop", "length"), ("length", "tool_calls")])
def test_a_reason_that_cuts_the_answer_wins(reasons: tuple[str, str]) -> None:
    answer = Answer()
    answer.add(call_chunk(index=0, id="a", function={"name": "one", "arguments": "{"}))
    for reason in reasons:
        answer.add(end_chunk(reason))
    assert (answer.finish_reason, answer.tool_calls) == ("length", ())
