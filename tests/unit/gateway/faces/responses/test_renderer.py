from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from services.gateway.faces.responses.renderer import ResponseStream
from services.gateway.faces.responses.shapes import stored_response
from services.gateway.streaming.renderer import End
from shared.contracts.errors import ApiError, Code
from shared.contracts.frames import FrameId, StreamFrame, stream_frame
from shared.contracts.sessions import Citation, PassageName, Retrieval, RetrievedPassage, ToolCall, TurnMessage
from shared.contracts.turns import CallerTool, CompletionRequest, StoredTurn, Timing, Turn, Usage, terminal_frame
from shared.ids import new_id
from tests.response_documents import checked_events, checked_response

NOW = datetime.now(UTC)
TURN = Turn(
    id=new_id("trn"),
    session_id=new_id("ses"),
    status="queued",
    agent_id=new_id("agt"),
    agent_version=3,
    created_at=NOW,
)
ASKED = CompletionRequest(
    is_response=True, store=True, tools=(CallerTool(function={"name": "f"}),), instructions="Short."
)
PASSAGE = PassageName(source_id="src_1", title="Menu", url="https://pizza.example/menu")
FOUND = RetrievedPassage(**PASSAGE.model_dump(), text="Margherita", score=0.5, marker=1)
SEARCH = Retrieval(query="pizza?", passages=(FOUND,))


def said(text: str, **more: Any) -> TurnMessage:
    return TurnMessage(id=new_id("msg"), role="assistant", content=text, created_at=NOW, **more)


def frames(*events: tuple[str, dict[str, Any]], attempt: int = 1) -> Iterator[StreamFrame]:
    for seq, (event, data) in enumerate(events, 1):
        yield stream_frame(event, data, FrameId(attempt, seq))


def delta(text: str) -> tuple[str, dict[str, Any]]:
    return "delta", {"text": text}


STARTED = ("started", {"turnId": TURN.id, "attempt": 1})
AGAIN = ("restarted", {"attempt": 2, "reason": "worker_lost"})
OWN_TOOL = ("tool_call", {"toolCallId": "c0", "name": "own", "arguments": "{}"})


def ended(*output: TurnMessage, attempt: int = 1, **more: Any) -> StoredTurn:
    values = {
        "status": "completed",
        "finish_reason": "stop",
        "usage": Usage(total_tokens=3),
        "timing": Timing(),
        **more,
    }
    turn = TURN.model_copy(update={"attempt": attempt, "ended_at": NOW, **values})
    return StoredTurn(turn=turn, output=output, completion=ASKED)


def told(stored: StoredTurn, *log: StreamFrame, after: int = -1, **more: Any) -> list[dict[str, Any]]:
    """What a client receives of a log that ends with the stored turn's end."""
    renderer = ResponseStream(TURN, ASKED, after=after, **more)
    end = stream_frame(*terminal_frame(stored.turn, stored.output), FrameId(stored.turn.attempt, 99))
    start, rendered = renderer.start(), renderer.frames([*log, end])
    assert rendered.end is End.CLEAN
    return checked_events(start + rendered.data)


def accumulated(events: list[dict[str, Any]]) -> Any:
    """What openai-python's `.stream()` makes of them."""
    state = ResponseStreamState[Any](input_tools=[], text_format=omit)
    adapter = TypeAdapter[Any](ResponseStreamEvent)
    for event in events:
        state.handle_event(adapter.validate_python(event))
    return state


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def test_a_text_is_told_in_the_order_of_the_document() -> None:
    stored = ended(said("Hello there"))
    events = told(stored, *frames(STARTED, delta("Hello"), delta(" there")))
    assert kinds(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event["sequence_number"] for event in events] == list(range(10))
    assert events[-1]["response"] == stored_response(stored)
    assert accumulated(events)._completed_response.output_text == "Hello there"


def test_the_end_of_every_stream_is_the_stored_response() -> None:
    call = ToolCall(id="call_1", name="f", arguments='{"a":1}')
    own = said("Let me see.", tool_calls=(ToolCall(id="c0", name="own", arguments="{}"),), knowledge=(SEARCH,))
    result = TurnMessage(id=new_id("msg"), role="tool", content="42", tool_call_id="c0", created_at=NOW)
    cited = said("It is [1].", citations=(Citation(marker=1, start=6, end=9, passage=PASSAGE),), knowledge=(SEARCH,))
    last = cited.model_copy(update={"tool_calls": (call,)})
    stored = ended(own, result, last, finish_reason="tool_calls")
    search = ("kb_retrieval", SEARCH.wire())
    log = frames(STARTED, search, delta("Let me "), delta("see."), OWN_TOOL, search, delta("It is [1]."))
    events = told(stored, *log, shows_results=True)
    final = events[-1]["response"]
    assert final == stored_response(stored, shows_results=True)
    assert [item["type"] for item in final["output"]] == [
        "file_search_call",
        "message",
        "file_search_call",
        "message",
        "function_call",
    ]
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert done == final["output"]
    (annotated,) = (event for event in events if event["type"] == "response.output_text.annotation.added")
    assert annotated["annotation"] == final["output"][3]["content"][0]["annotations"][0]
    assert accumulated(events)._completed_response.output[4].arguments == '{"a":1}'


def test_a_new_attempt_leaves_an_incomplete_item_that_is_no_part_of_the_response() -> None:
    stored = ended(said("New answer"), attempt=2)
    log = [*frames(STARTED, delta("Old ans")), *frames(AGAIN, delta("New answer"), attempt=2)]
    events = told(stored, *log)
    voided, done = (event["item"] for event in events if event["type"] == "response.output_item.done")
    assert (voided["status"], voided["content"][0]["text"]) == ("incomplete", "Old ans")
    assert events[-1]["response"]["output"] == [done]
    assert done["id"] != voided["id"]
    assert [event["output_index"] for event in events if event["type"] == "response.output_item.added"] == [0, 1]
    assert accumulated(events)._completed_response.output_text == "New answer"


def test_a_resumed_stream_goes_on_after_any_event() -> None:
    stored = ended(said("New answer"), attempt=2)
    log = [*frames(STARTED, delta("Old ans")), *frames(AGAIN, delta("New"), delta(" answer"), attempt=2)]
    whole = told(stored, *log)
    for after in range(len(whole) - 1):
        assert told(stored, *log, after=after) == whole[after + 1 :]
    # Who has everything gets the last event again, under a number of its own.
    (again,) = told(stored, *log, after=len(whole) - 1)
    assert again["response"] == whole[-1]["response"]


def test_a_live_delta_has_the_bytes_of_one_that_was_read_from_the_log() -> None:
    pieces = list(frames(STARTED, delta("a"), delta("b"), delta("c")))
    slow, fast = ResponseStream(TURN, ASKED), ResponseStream(TURN, ASKED)
    slow.start(), fast.start()
    sent: list[bytes] = []

    def send(data: bytes) -> bool:
        sent.append(data)
        return True

    forward = fast.fast_path(send)
    assert not forward(pieces[1].data)  # No message is open yet.
    fast.frames(pieces[:2])
    assert forward(pieces[2].data)
    assert forward(pieces[3].data)
    assert not forward(stream_frame(*OWN_TOOL, FrameId(1, 5)).data)
    assert b"".join(sent) == b"".join(slow.frames(pieces).parts[3:])


def test_a_log_that_is_gone_is_told_whole_to_a_new_reader_and_by_its_end_to_one_that_resumes() -> None:
    stored = ended(said("One."), said("Two."), attempt=2)
    restarted = stream_frame("restarted", {"attempt": 2, "reason": "log_expired"})
    whole = stream_frame("delta", {"text": "One.Two."})
    events = told(stored, restarted, whole)
    assert "".join(event["delta"] for event in events if event["type"].endswith("text.delta")) == "One.Two."
    assert accumulated(events)._completed_response.output_text == "One.Two."
    (last,) = told(stored, restarted, whole, after=30)
    assert (last["sequence_number"], last["response"]) == (31, events[-1]["response"])


@pytest.mark.parametrize(
    ("turn", "status", "reason"),
    [
        ({"finish_reason": "length"}, "incomplete", "max_output_tokens"),
        ({"finish_reason": "content_filter"}, "incomplete", "content_filter"),
        ({"status": "cancelled", "finish_reason": "cancelled"}, "cancelled", None),
    ],
)
def test_a_response_that_is_not_whole_ends_as_incomplete(turn: dict[str, Any], status: str, reason: str | None) -> None:
    stored = ended(said("Hel", status="partial"), **turn)
    events = told(stored, *frames(STARTED, delta("Hel")))
    last = events[-1]
    assert (last["type"], last["response"]["status"]) == ("response.incomplete", status)
    assert (last["response"]["incomplete_details"] or {}).get("reason") == reason
    assert last["response"] == stored_response(stored)


def test_a_turn_that_fails_ends_with_a_failed_response() -> None:
    problem = ApiError(Code.UPSTREAM_ERROR, "The model is away.").problem()
    stored = ended(status="failed", finish_reason=None, error=problem)
    events = told(stored, *frames(STARTED, delta("Hel")))
    assert (events[-1]["type"], events[-1]["response"]["status"]) == ("response.failed", "failed")
    assert events[-1]["response"]["error"] == {"code": "server_error", "message": "The model is away."}
    assert checked_response(orjson.dumps(stored_response(stored))).status == "failed"


def test_a_stream_that_cannot_go_on_is_broken_off() -> None:
    renderer = ResponseStream(TURN, ASKED)
    assert renderer.interrupted() == ((), End.BROKEN)
    renderer.start()
    rendered = renderer.failed(ApiError(Code.TURN_NOT_FOUND))
    (event,) = checked_events(rendered.data, is_whole=False)
    assert (event["type"], event["code"], rendered.end) == ("error", "turn_not_found", End.BROKEN)


@given(st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1))
def test_text_passes_unchanged(pieces: list[str]) -> None:
    stored = ended(said("".join(pieces)))
    events = told(stored, *frames(STARTED, *map(delta, pieces)))
    assert [event["delta"] for event in events if event["type"].endswith("text.delta")] == pieces
    assert accumulated(events)._completed_response.output_text == "".join(pieces)


def test_a_file_without_an_address_is_cited_as_a_file() -> None:
    passage = PASSAGE.model_copy(update={"url": None, "heading": "Pizza"})
    stored = ended(said("It is [1].", citations=(Citation(marker=1, start=6, end=9, passage=passage),)))
    (annotation,) = stored_response(stored)["output"][0]["content"][0]["annotations"]
    assert annotation == {"type": "file_citation", "file_id": "src_1", "filename": "Menu > Pizza", "index": 6}
    checked_response(orjson.dumps(stored_response(stored)))
