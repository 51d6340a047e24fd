"""The chunks of the UI message stream, frame by frame, and the stored messages that they must add up to."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from services.gateway.edge.validation import validated
from services.gateway.faces.ai_sdk.parts import answer_parts, ui_messages
from services.gateway.faces.ai_sdk.renderer import UiMessageStream
from services.gateway.faces.ai_sdk.request import ChatRequest
from services.gateway.streaming.renderer import End
from services.gateway.streaming.replay import replayed_from_stored
from shared.contracts.errors import ApiError, Code
from shared.contracts.frames import FrameId, StreamFrame, stream_frame
from shared.contracts.sessions import Citation, PassageName, ToolCall, TurnMessage
from shared.contracts.turns import StoredTurn, Turn, Usage, terminal_frame
from shared.ids import new_id

NOW = datetime(2026, 11, 27, tzinfo=UTC)
TURN = Turn(id="trn_1", session_id="ses_1", status="queued", agent_id="agt_1", agent_version=3, created_at=NOW)
TOLD = {"turnId": "trn_1", "sessionId": "ses_1", "agentVersion": 3}


def chunks(data: bytes) -> list[Any]:
    blocks = data.split(b"\n\n")
    assert blocks.pop() == b""
    return [block if block == b"data: [DONE]" else orjson.loads(block.removeprefix(b"data: ")) for block in blocks]


def frame(event: str, seq: int, of: int = 1, **data: Any) -> StreamFrame:
    """`of`: the number of the attempt."""
    return stream_frame(event, data, FrameId(of, seq))


def message(text: str | None, **more: Any) -> TurnMessage:
    return TurnMessage(id=new_id("msg"), role=more.pop("role", "assistant"), content=text, created_at=NOW, **more)


CITED = Citation(
    marker=1, start=3, end=6, passage=PassageName(id="psg_1", source_id="src_1", title="Menu", url="https://a.example")
)
BARE = CITED.model_copy(update={"passage": PassageName(id="psg_2", source_id="src_2", title="Note", heading="Hours")})
OUTPUT = (
    message("Wait. ", tool_calls=(ToolCall(id="call_0", name="look", arguments='{"at":1}'),)),
    message("found", role="tool", tool_call_id="call_0", name="look"),
    message(None, tool_calls=(ToolCall(id="call_0", name="look", arguments="not JSON"),)),
    message("No such thing.", role="tool", tool_call_id="call_0", name="look", failed=True),
    message("Hot [1][2].", citations=(CITED, CITED, BARE)),
)
ENDED = TURN.model_copy(
    update={"status": "completed", "finish_reason": "stop", "attempt": 1, "usage": Usage(total_tokens=9)}
)
STORED = StoredTurn(
    turn=ENDED,
    number=1,
    input=(message("Is it hot?", role="user", client_id="m-1"),),
    output=OUTPUT,
    last_seq=9,
)
FRAMES = [
    frame("started", 1, turnId="trn_1"),
    frame("delta", 2, text="Wait. "),
    frame("tool_call", 3, toolCallId="call_0", name="look", arguments='{"at":1}'),
    frame("tool_result", 4, toolCallId="call_0", name="look", status="ok", result="found", durationMs=1),
    frame("tool_call", 5, toolCallId="call_0", name="look", arguments="not JSON"),
    frame("tool_result", 6, toolCallId="call_0", name="look", status="error", result="No such thing.", durationMs=1),
    frame("delta", 7, text="Hot "),
    frame("delta", 8, text="[1][2]."),
    stream_frame(*terminal_frame(ENDED, OUTPUT), FrameId(1, 9)),
]
SOURCES = [
    {"type": "source-url", "sourceId": "psg_1", "url": "https://a.example", "title": "Menu"},
    {"type": "source-document", "sourceId": "psg_2", "mediaType": "text/plain", "title": "Note > Hours"},
]


class Assembled:
    """The message's parts as the AI SDK builds them. A chunk that it would throw at fails here."""

    def __init__(self) -> None:
        self.parts = list[dict[str, Any]]()
        self._texts = dict[str, dict[str, Any]]()
        self._calls = dict[str, dict[str, Any]]()

    def add(self, chunk: dict[str, Any]) -> None:
        kind = chunk["type"]
        if kind == "start-step":
            self.parts.append({"type": "step-start"})
        elif kind == "reset-step":
            del self.parts[1:]
            self._texts, self._calls = {}, {}
        elif kind.startswith("text-"):
            self._text(kind, chunk)
        elif kind.startswith("tool-"):
            self._tool(kind, chunk)
        elif kind.startswith("source-"):
            self.parts.append(chunk)

    def _text(self, kind: str, chunk: dict[str, Any]) -> None:
        if kind == "text-start":
            assert chunk["id"] not in self._texts
            self._texts[chunk["id"]] = {"type": "text", "text": "", "state": "streaming"}
            self.parts.append(self._texts[chunk["id"]])
            return
        part = self._texts[chunk["id"]]
        assert part["state"] == "streaming"
        part |= {"state": "done"} if kind == "text-end" else {"text": part["text"] + chunk["delta"]}

    def _tool(self, kind: str, chunk: dict[str, Any]) -> None:
        assert (chunk["providerExecuted"], chunk["dynamic"]) == (True, True)
        if kind == "tool-input-available":
            assert chunk["toolCallId"] not in self._calls
            kept = {name: chunk[name] for name in ("toolName", "toolCallId", "input", "providerExecuted")}
            self._calls[chunk["toolCallId"]] = {"type": "dynamic-tool", "state": "input-available", **kept}
            self.parts.append(self._calls[chunk["toolCallId"]])
        elif kind == "tool-output-available":
            self._calls[chunk["toolCallId"]] |= {"state": "output-available", "output": chunk["output"]}
        else:
            self._calls[chunk["toolCallId"]] |= {"state": "output-error", "errorText": chunk["errorText"]}


def assembled(found: list[Any]) -> list[dict[str, Any]]:
    client = Assembled()
    for chunk in found:
        if not isinstance(chunk, bytes):
            client.add(chunk)
    return client.parts


def test_a_plain_answer_in_golden_chunks() -> None:
    stream = UiMessageStream(TURN)
    assert chunks(stream.start()) == [
        {"type": "start", "messageId": "trn_1", "messageMetadata": TOLD},
        {"type": "start-step"},
    ]
    assert stream.frames([frame("started", 1, turnId="trn_1")]) == ([], None)
    assert chunks(stream.frames([frame("delta", 2, text="Hel\u2028")]).data) == [
        {"type": "text-start", "id": "1"},
        {"type": "text-delta", "id": "1", "delta": "Hel\u2028"},
    ]
    end: dict[str, Any] = {
        "turnId": "trn_1",
        "status": "completed",
        "finishReason": "stop",
        "messages": [],
        "usage": {"totalTokens": 2},
    }
    rendered = stream.frames([frame("delta", 3, text="lo"), frame("done", 4, **end)])
    metadata = {"status": "completed", "finishReason": "stop", "usage": {"totalTokens": 2}}
    assert chunks(rendered.data) == [
        {"type": "text-delta", "id": "1", "delta": "lo"},
        {"type": "text-end", "id": "1"},
        {"type": "finish-step"},
        {"type": "finish", "finishReason": "stop", "messageMetadata": metadata},
        b"data: [DONE]",
    ]
    assert rendered.end is End.CLEAN


def test_what_a_client_assembles_is_what_is_stored() -> None:
    stream = UiMessageStream(TURN)
    found = chunks(stream.start() + stream.frames(FRAMES).data)
    stored = ui_messages(STORED)
    assert stored[0] == {"id": "m-1", "role": "user", "parts": [{"type": "text", "text": "Is it hot?"}]}
    assert assembled(found) == stored[1]["parts"]
    assert stored[1]["parts"][-2:] == SOURCES
    assert [part["toolCallId"] for part in stored[1]["parts"] if part["type"] == "dynamic-tool"] == [
        "call_0",
        "call_0#2",
    ]
    finish = next(each for each in found if each != b"data: [DONE]" and each["type"] == "finish")
    assert stored[1]["metadata"] == TOLD | finish["messageMetadata"]


def test_a_turn_whose_log_is_gone_is_told_from_its_messages() -> None:
    stream = UiMessageStream(TURN)
    found = chunks(stream.start() + stream.frames(replayed_from_stored(STORED)).data)
    assert assembled(found) == ui_messages(STORED)[1]["parts"]


@pytest.mark.parametrize("cut", range(1, len(FRAMES)))
def test_batches_do_not_matter(cut: int) -> None:
    stream = UiMessageStream(TURN)
    found = chunks(stream.start() + stream.frames(FRAMES[:cut]).data + stream.frames(FRAMES[cut:]).data)
    assert assembled(found) == answer_parts([each.public("ses_1", "trn_1") for each in OUTPUT])


def test_the_fast_path_sends_the_same_bytes_and_only_into_an_open_text() -> None:
    sent = list[bytes]()
    stream = UiMessageStream(TURN)

    def send(data: bytes) -> bool:
        sent.append(data)
        return True

    forward = stream.fast_path(send)
    text = frame("delta", 2, text='a "b"\u0085')
    assert not forward(text.data)
    stream.frames([frame("delta", 1, text="x")])
    assert forward(text.data)
    assert not forward(frame("tool_call", 3, toolCallId="c", name="n", arguments="{}").data)
    assert chunks(sent[0]) == [{"type": "text-delta", "id": "1", "delta": 'a "b"\u0085'}]
    stream.frames([frame("tool_call", 3, toolCallId="c", name="n", arguments="{}")])
    assert not forward(text.data)


RESTARTED = frame("restarted", 1, 2, attempt=2, reason="worker_lost")


def test_a_void_attempt_breaks_the_stream_of_a_client_that_cannot_be_told() -> None:
    stream = UiMessageStream(TURN)
    stream.frames([frame("delta", 2, text="lost")])
    assert stream.frames([RESTARTED, frame("delta", 2, 2, text="new")]) == ((), End.BROKEN)


def test_a_void_attempt_is_taken_back_in_ai_7_with_its_tools() -> None:
    stream = UiMessageStream(TURN, resets=True)
    found = chunks(stream.start() + stream.frames(FRAMES[:5]).data)
    found += chunks(stream.frames([RESTARTED, frame("delta", 2, 2, text="new")]).data)
    assert {"type": "reset-step"} in found
    assert assembled(found) == [{"type": "step-start"}, {"type": "text", "text": "new", "state": "streaming"}]


def test_a_void_attempt_that_nobody_saw_is_passed_over() -> None:
    stream = UiMessageStream(TURN)
    found = chunks(stream.frames([*FRAMES[:5], RESTARTED, frame("delta", 2, 2, text="new")]).data)
    assert [each["type"] for each in found] == ["text-start", "text-delta"]


def test_a_cancelled_turn_ends_with_abort_and_a_failed_one_with_its_error() -> None:
    end: dict[str, Any] = {
        "turnId": "trn_1",
        "status": "cancelled",
        "finishReason": "cancelled",
        "messages": [],
        "usage": None,
    }
    stream = UiMessageStream(TURN)
    stream.frames([frame("delta", 2, text="half")])
    kinds = [
        each if isinstance(each, bytes) else each["type"]
        for each in chunks(stream.frames([frame("done", 3, **end)]).data)
    ]
    assert kinds == ["text-end", "finish-step", "message-metadata", "abort", b"data: [DONE]"]
    problem = ApiError(Code.UPSTREAM_ERROR, "The model broke off.", retryable=True).problem()
    found = chunks(UiMessageStream(TURN).frames([frame("error", 2, turnId="trn_1", **problem)]).data)
    assert found[0]["messageMetadata"]["error"] == {"code": "upstream_error", "retryable": True}
    assert found[1:] == [{"type": "error", "errorText": "The model broke off."}, b"data: [DONE]"]


def test_a_stream_that_is_interrupted_never_ends_cleanly() -> None:
    assert UiMessageStream(TURN).interrupted().end is End.BROKEN
    failed = UiMessageStream(TURN).failed(ApiError(Code.TURN_NOT_FOUND))
    assert chunks(failed.data)[0]["type"] == "error"


def test_reasoning_has_parts_of_its_own() -> None:
    stream = UiMessageStream(TURN)
    found = chunks(stream.frames([frame("reasoning", 2, text="hm"), frame("delta", 3, text="so")]).data)
    assert [each["type"] for each in found] == [
        "reasoning-start",
        "reasoning-delta",
        "reasoning-end",
        "text-start",
        "text-delta",
    ]


def parsed(**body: Any) -> ChatRequest:
    return validated(ChatRequest, {"id": "chat-1", **body})


def test_the_last_message_of_the_client_is_what_it_says() -> None:
    user = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    assert parsed(messages=[{"anything": 1}, user], custom={"x": 1}).submitted() == ("m1", "a\nb")
    assert parsed(message=user).submitted() == ("m1", "a\nb")
    assert parsed(trigger="regenerate-message", messages=[]).submitted() is None


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": []},
        {"messages": [{"role": "assistant", "parts": []}]},
        {"messages": [{"role": "user", "parts": []}]},
        {"messages": [{"role": "user", "parts": [{"type": "text", "text": " "}]}]},
        {"messages": [{"role": "user", "parts": [{"type": "text", "text": "x" * 100_001}]}]},
        {"messages": [{"role": "user", "parts": [{"type": "file", "url": "data:,"}, {"type": "text", "text": "x"}]}]},
        {"messages": [{"role": "user", "content": "x"}]},
        {"messages": [{"id": "\u202e", "role": "user", "parts": [{"type": "text", "text": "x"}]}]},
    ],
)
def test_what_cannot_be_answered_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as raised:
        parsed(**body).submitted()
    assert raised.value.code in (Code.INVALID_REQUEST, Code.VALIDATION_FAILED)
