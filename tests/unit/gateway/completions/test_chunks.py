from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.completions.chunks import (
    DONE,
    ChunkStream,
)
from services.gateway.completions.request import parse_completion
from services.gateway.completions.shapes import completion_id, completion_shape, turn_id_of, usage_shape
from services.gateway.streaming.renderer import End
from shared.contracts.companions import companions_of, upstream_tag
from shared.contracts.errors import ApiError, Code
from shared.contracts.frames import FrameId, StreamFrame, stream_frame
from shared.contracts.turns import Turn
from shared.ids import new_id

TURN = Turn(id=new_id("trn"), status="queued", agent_id=new_id("agt"), agent_version=3, created_at=datetime.now(UTC))
DONE_DATA: dict[str, Any] = {
    "turnId": TURN.id,
    "status": "completed",
    "finishReason": "stop",
    "messages": [],
    "usage": None,
}


def stream(**more: Any) -> ChunkStream:
    return ChunkStream(TURN, **{"include_usage": False, **more})


def delta(seq: int, text: str, attempt: int = 1) -> StreamFrame:
    return stream_frame("delta", {"text": text}, FrameId(attempt, seq))


def contents(data: bytes) -> list[str]:
    blocks = [block for block in data.split(b"\n\n") if block and block != b"data: [DONE]"]
    return [orjson.loads(block[6:])["choices"][0]["delta"].get("content", "") for block in blocks]


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_text_passes_unchanged_and_on_one_line(text: str) -> None:
    data = stream().frames([delta(1, text)]).data
    assert contents(data) == [text]
    assert len(data.decode().splitlines()) == 2


def test_frames_of_the_agents_own_tools_render_to_nothing() -> None:
    frames = [
        stream_frame(event, {}, FrameId(1, n))
        for n, event in enumerate(("started", "kb_retrieval", "tool_call", "tool_result"), 1)
    ]
    assert stream().frames(frames) == ([], None)


def test_a_turn_that_was_stopped_in_its_own_tools_shows_none_of_them() -> None:
    message = {
        "role": "assistant",
        "content": "Let me see.",
        "toolCalls": [{"id": "call_1", "name": "look_up", "arguments": "{}"}],
    }
    data = {**DONE_DATA, "status": "cancelled", "finishReason": "cancelled", "messages": [message]}
    assert b"tool_calls" not in stream().finish(data, None)
    choice = completion_shape(TURN, data)["choices"][0]
    assert (choice["finish_reason"], choice["message"]) == (
        "stop",
        {"role": "assistant", "content": "Let me see.", "refusal": None},
    )


def test_each_call_of_the_callers_is_named_once_and_comes_alone() -> None:
    calls = [{"id": f"call_{name}", "name": name, "arguments": f'{{"of":"{name}"}}'} for name in ("a", "b")]
    data = {
        **DONE_DATA,
        "finishReason": "tool_calls",
        "messages": [{"role": "assistant", "content": None, "toolCalls": calls}],
    }
    blocks = stream(include_usage=True).finish(data, None).split(b"\n\n")
    *chunks, end, usage = [orjson.loads(block[6:]) for block in blocks if block not in (b"", DONE.strip())]
    assert [chunk["choices"][0]["delta"]["tool_calls"] for chunk in chunks] == [
        [{"index": 0, "id": "call_a", "type": "function", "function": {"name": "a", "arguments": ""}}],
        [{"index": 0, "function": {"arguments": '{"of":"a"}'}}],
        [{"index": 1, "id": "call_b", "type": "function", "function": {"name": "b", "arguments": ""}}],
        [{"index": 1, "function": {"arguments": '{"of":"b"}'}}],
    ]
    assert (end["choices"][0]["finish_reason"], end["choices"][0]["delta"], end["usage"]) == ("tool_calls", {}, None)
    assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], 0)


def test_a_restart_voids_what_came_before_it_in_the_same_batch() -> None:
    frames = [delta(1, "lost"), stream_frame("restarted", {"attempt": 2}, FrameId(2, 1)), delta(2, "kept", 2)]
    rendered = stream().frames(frames)
    assert contents(rendered.data) == ["kept"]
    assert rendered.end is None


@pytest.mark.parametrize("resumed", [True, False])
def test_a_restart_after_text_is_broken(resumed: bool) -> None:
    chunks = stream(has_text=resumed)
    if not resumed:
        chunks.frames([delta(1, "x")])
    rendered = chunks.frames([stream_frame("restarted", {"attempt": 2}, FrameId(2, 1)), delta(2, "y", 2)])
    assert rendered.end is End.BROKEN
    assert set(orjson.loads(rendered.data[6:])) == {"error"}


def test_a_text_before_an_error_is_still_sent() -> None:
    problem = ApiError(Code.UPSTREAM_ERROR).problem()
    rendered = stream().frames([delta(1, "x"), stream_frame("error", {"turnId": TURN.id, **problem}, FrameId(1, 2))])
    text, error, rest = rendered.data.split(b"\n\n")
    assert orjson.loads(text[6:])["choices"][0]["delta"] == {"content": "x"}
    assert orjson.loads(error[6:])["error"] == problem["error"]
    assert (rest, rendered.end) == (b"", End.BROKEN)


@pytest.mark.parametrize(
    ("reason", "shown"),
    [("stop", "stop"), ("length", "length"), ("cancelled", "stop"), ("content_filter", "content_filter")],
)
def test_finish_reasons_are_openais(reason: str, shown: str) -> None:
    rendered = stream().frames([stream_frame("done", {**DONE_DATA, "finishReason": reason}, FrameId(1, 1))])
    assert orjson.loads(rendered.data.split(b"\n\n")[0][6:])["choices"][0]["finish_reason"] == shown
    assert rendered.data.endswith(DONE)
    assert rendered.end is End.CLEAN


def test_usage_is_whole_even_where_nothing_was_reported() -> None:
    assert usage_shape(None)["total_tokens"] == 0
    assert (
        usage_shape({"promptTokens": 1, "completionTokens": 2, "totalTokens": 3, "estimated": True})["estimated"]
        is True
    )


def test_a_completions_id_names_its_turn() -> None:
    assert turn_id_of(completion_id(TURN.id)) == TURN.id
    assert turn_id_of(TURN.id) == ""


CALLING: dict[str, Any] = {
    "role": "assistant",
    "content": None,
    "companions": '{"reasoning_content":"Hm."}',
    "upstream": "default",
    "toolCalls": [{"id": "a", "name": "look_up", "arguments": "{}", "companions": '{"extra_content":{"google":1}}'}],
}


def test_companions_of_a_callers_calls_are_handed_out_in_chunks() -> None:
    data = stream().finish(DONE_DATA | {"finishReason": "tool_calls", "messages": [CALLING]}, None)
    deltas = [
        orjson.loads(block[6:])["choices"][0]["delta"] for block in data.split(b"\n\n") if block and block != DONE[:-2]
    ]
    assert deltas[0] == {"reasoning_content": "Hm.", "parley": {"upstream": upstream_tag("default")}}
    assert deltas[1]["tool_calls"][0]["extra_content"] == {"google": 1}
    assert "default" not in data.decode().replace('"service_tier":"default"', "")


def test_companions_of_a_callers_calls_come_back_from_a_whole_completion() -> None:
    shape = completion_shape(TURN, DONE_DATA | {"finishReason": "tool_calls", "messages": [CALLING]})
    message = shape["choices"][0]["message"]
    assert message["reasoning_content"] == "Hm."
    body = {"model": TURN.agent_id, "messages": [{"role": "user", "content": "Hi"}, message]}
    request, ignored = parse_completion(body)
    (stored,) = (one for one in request.stored_messages(datetime.now(UTC)) if one.role == "assistant")
    assert ignored == []
    assert stored.upstream == upstream_tag("default")
    assert companions_of(stored.companions) == {"reasoning_content": "Hm."}
    assert stored.tool_calls is not None
    assert companions_of(stored.tool_calls[0].companions) == {"extra_content": {"google": 1}}


def test_companions_of_the_agents_own_calls_are_not_shown() -> None:
    answer = {"role": "assistant", "content": "Hello"}
    shape = completion_shape(TURN, DONE_DATA | {"messages": [CALLING, answer]})
    assert set(shape["choices"][0]["message"]) == {"role", "content", "refusal"}


def cited(role: str, content: str, *citations: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "content": content, "citations": list(citations)}


def test_citations_are_annotations_with_their_places_in_all_of_the_text() -> None:
    passage = {"id": "psg_1", "sourceId": "src_1", "title": "Menu", "heading": "Pizzas", "url": "https://a.example"}
    messages = [
        cited("assistant", "Let me see. "),
        cited("tool", "[1]"),
        cited(
            "assistant",
            "$12 [1][2]",
            {"marker": 1, "start": 4, "end": 7, "passage": passage},
            {"marker": 2, "start": 7, "end": 10, "passage": {"id": "psg_2", "sourceId": "src_2", "title": "Fees"}},
        ),
    ]
    data = {**DONE_DATA, "messages": messages}
    whole = completion_shape(TURN, data)["choices"][0]["message"]
    annotations = [
        {"start_index": 16, "end_index": 19, "url": "https://a.example", "title": "Menu > Pizzas"},
        {"start_index": 19, "end_index": 22, "url": "", "title": "Fees"},
    ]
    assert whole["annotations"] == [{"type": "url_citation", "url_citation": one} for one in annotations]
    assert [whole["content"][one["start_index"] : one["end_index"]] for one in annotations] == ["[1]", "[2]"]
    blocks = stream().finish(data, FrameId(1, 9)).split(b"\n\n")
    assert orjson.loads(blocks[0][6:])["choices"][0]["delta"] == {"annotations": whole["annotations"]}
    assert orjson.loads(blocks[1][6:])["choices"][0]["finish_reason"] == "stop"
    assert "annotations" not in completion_shape(TURN, DONE_DATA)["choices"][0]["message"]


def test_a_guardrail_that_blocks_ends_the_stream_with_content_filter() -> None:
    act = stream_frame("guardrail", {"stage": "output", "action": "block", "name": "cards"}, FrameId(1, 2))
    done = stream_frame("done", {**DONE_DATA, "finishReason": "content_filter"}, FrameId(1, 4))
    rendered = stream().frames([delta(1, "Well. "), act, delta(3, "I cannot help."), done])
    assert rendered.end is End.CLEAN
    assert contents(rendered.data) == ["Well. ", "I cannot help.", ""]
    assert b'"finish_reason":"content_filter"' in rendered.data
    assert b"guardrail" not in rendered.data
