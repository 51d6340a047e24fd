"""AG-UI's events, frame by frame, under the rules of its verifier; and what of a client's messages counts."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from services.gateway.edge.validation import validated
from services.gateway.faces.agui.messages import answer_messages, thread_messages
from services.gateway.faces.agui.renderer import AgUiStream
from services.gateway.faces.agui.request import RunAgentInput, asked
from services.gateway.streaming.renderer import End
from services.gateway.streaming.replay import replayed_from_stored
from shared.contracts.errors import ApiError, Code
from shared.contracts.frames import FrameId, StreamFrame, stream_frame
from shared.contracts.sessions import ToolCall, TurnMessage
from shared.contracts.turns import StoredTurn, Turn, Usage, terminal_frame
from shared.ids import new_id

NOW = datetime(2026, 11, 27, tzinfo=UTC)
TRN = new_id("trn")
TURN = Turn(id=TRN, session_id="ses_1", status="queued", agent_id="agt_1", agent_version=3, created_at=NOW)
BEFORE = [{"id": "m-1", "role": "user", "content": "Is it hot?"}]
RUN = {"threadId": "thread", "runId": "run"}


def stream(**more: Any) -> AgUiStream:
    return AgUiStream(TURN, "thread", "run", BEFORE, **more)


def events(data: bytes) -> list[dict[str, Any]]:
    assert b"\r" not in data
    blocks = data.split(b"\n\n")
    assert blocks.pop() == b""
    return [orjson.loads(block.removeprefix(b"data: ")) for block in blocks]


def kinds(data: bytes) -> list[str]:
    return [each["type"] for each in events(data)]


def frame(event: str, seq: int, of: int = 1, **data: Any) -> StreamFrame:
    return stream_frame(event, data, FrameId(of, seq))


def message(text: str | None, **more: Any) -> TurnMessage:
    return TurnMessage(id=new_id("msg"), role=more.pop("role", "assistant"), content=text, created_at=NOW, **more)


def call(name: str, arguments: str, of: str = "call_0") -> ToolCall:
    return ToolCall(id=of, name=name, arguments=arguments)


OUTPUT = (
    message("Wait. ", tool_calls=(call("look", '{"at":1}'),)),
    message("found", role="tool", tool_call_id="call_0", name="look"),
    message(None, tool_calls=(call("look", ""),)),
    message("No such thing.", role="tool", tool_call_id="call_0", name="look", failed=True),
    message("Hot."),
)
ENDED = TURN.model_copy(
    update={"status": "completed", "finish_reason": "stop", "attempt": 1, "usage": Usage(total_tokens=9)}
)
STORED = StoredTurn(
    turn=ENDED, number=1, input=(message("Is it hot?", role="user", client_id="m-1"),), output=OUTPUT, last_seq=9
)
FRAMES = [
    frame("started", 1),
    frame("delta", 2, text="Wait. "),
    frame("tool_call", 3, toolCallId="call_0", name="look", arguments='{"at":1}'),
    frame("tool_result", 4, toolCallId="call_0", name="look", status="ok", result="found", durationMs=1),
    frame("tool_call", 5, toolCallId="call_0", name="look", arguments=""),
    frame("tool_result", 6, toolCallId="call_0", name="look", status="error", result="No such thing.", durationMs=1),
    frame("delta", 7, text="Ho"),
    frame("delta", 8, text="t."),
    stream_frame(*terminal_frame(ENDED, OUTPUT), FrameId(1, 9)),
]


class Client:
    """What `@ag-ui/client` makes of events, and where its verifier throws."""

    def __init__(self) -> None:
        self.messages = list[dict[str, Any]](BEFORE)
        self.open = set[str]()
        self.ended = False

    def read(self, data: bytes) -> "Client":
        for each in events(data):
            assert not self.ended, each
            assert None not in each.values(), "optional members are left out, not null"
            getattr(self, each["type"].lower(), lambda _: None)(each)
        return self

    def _message(self, name: str) -> dict[str, Any]:
        found = [each for each in self.messages if each["id"] == name]
        if not found:
            self.messages.append({"id": name, "role": "assistant", "content": ""})
        return found[0] if found else self.messages[-1]

    def messages_snapshot(self, event: dict[str, Any]) -> None:
        self.messages = list(event["messages"])

    def text_message_start(self, event: dict[str, Any]) -> None:
        assert event["messageId"] not in self.open
        self.open.add(event["messageId"])
        self._message(event["messageId"])

    def text_message_content(self, event: dict[str, Any]) -> None:
        assert event["messageId"] in self.open
        self._message(event["messageId"])["content"] += event["delta"]

    def text_message_end(self, event: dict[str, Any]) -> None:
        self.open.remove(event["messageId"])

    def tool_call_start(self, event: dict[str, Any]) -> None:
        assert event["toolCallId"] not in self.open
        self.open.add(event["toolCallId"])
        function = {"name": event["toolCallName"], "arguments": ""}
        calls = self._message(event["parentMessageId"]).setdefault("toolCalls", [])
        calls.append({"id": event["toolCallId"], "type": "function", "function": function})

    def tool_call_args(self, event: dict[str, Any]) -> None:
        [call] = [
            each
            for message in self.messages
            for each in message.get("toolCalls", ())
            if each["id"] == event["toolCallId"]
        ]
        call["function"]["arguments"] += event["delta"]

    def tool_call_end(self, event: dict[str, Any]) -> None:
        self.open.remove(event["toolCallId"])

    def tool_call_result(self, event: dict[str, Any]) -> None:
        names = ("role", "toolCallId", "content")
        self.messages.append({"id": event["messageId"], **{name: event[name] for name in names}})

    def run_finished(self, _: dict[str, Any]) -> None:
        assert not self.open
        self.ended = True

    def run_error(self, _: dict[str, Any]) -> None:
        self.ended = True


def test_a_plain_answer_in_golden_events() -> None:
    face = stream()
    name = f"{TRN}.0"
    assert events(face.start()) == [{"type": "RUN_STARTED", **RUN}]
    assert events(face.frames([frame("delta", 2, text="Hel\u2028")]).data) == [
        {"type": "TEXT_MESSAGE_START", "messageId": name, "role": "assistant"},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": name, "delta": "Hel\u2028"},
    ]
    usage = {"promptTokens": 1, "completionTokens": 2, "totalTokens": 3, "cachedTokens": None}
    end: dict[str, Any] = {"turnId": TRN, "status": "completed", "finishReason": "stop", "messages": [], "usage": usage}
    rendered = face.frames([frame("done", 3, **end)])
    result = {"turnId": TRN, "sessionId": "ses_1", "status": "completed", "finishReason": "stop"}
    assert events(rendered.data) == [
        {"type": "TEXT_MESSAGE_END", "messageId": name},
        {
            "type": "RUN_FINISHED",
            **RUN,
            "result": result,
            "usage": [{"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}],
        },
    ]
    assert rendered.end is End.CLEAN


@pytest.mark.parametrize("cut", range(len(FRAMES)))
def test_what_a_client_has_in_the_end_is_what_is_stored(cut: int) -> None:
    face = stream()
    data = b"".join(face.frames(part).data for part in (FRAMES[:cut], FRAMES[cut:]) if part)
    client = Client().read(face.start() + data)
    assert client.ended
    assert client.messages == thread_messages([STORED])
    assert len({each["id"] for each in client.messages}) == len(client.messages)


def test_a_run_whose_log_is_gone_is_told_from_its_messages() -> None:
    face = stream()
    client = Client().read(face.start() + face.frames(replayed_from_stored(STORED)).data)
    assert client.messages == thread_messages([STORED])


def test_a_void_attempt_is_replaced_by_what_was_before_it() -> None:
    face = stream()
    client = Client().read(face.start() + face.frames(FRAMES[:8]).data)
    restarted = frame("restarted", 1, 2, attempt=2, reason="worker_lost")
    end: dict[str, Any] = {"turnId": TRN, "status": "completed", "finishReason": "stop", "messages": [], "usage": None}
    client.read(face.frames([restarted, frame("delta", 2, 2, text="new"), frame("done", 3, 2, **end)]).data)
    assert client.messages == [*BEFORE, {"id": f"{TRN}.0", "role": "assistant", "content": "new"}]


def test_a_long_conversation_is_not_held_for_a_restart_and_the_stream_is_broken_off_instead() -> None:
    face = AgUiStream(TURN, "thread", "run", [{**BEFORE[0], "content": "x" * 100_000}], is_repeat=True)
    assert kinds(face.start()) == ["RUN_STARTED", "MESSAGES_SNAPSHOT"]
    face.frames([frame("delta", 2, text="lost")])
    restarted = frame("restarted", 1, 2, attempt=2, reason="worker_lost")
    assert face.frames([restarted, frame("delta", 2, 2, text="new")]) == ((), End.BROKEN)


def test_a_repeated_run_begins_with_the_messages_before_it() -> None:
    assert events(stream(is_repeat=True).start())[1] == {"type": "MESSAGES_SNAPSHOT", "messages": BEFORE}


def test_calls_of_the_clients_tools_end_the_run_and_their_results_continue_it() -> None:
    output = (message("Let me see.", tool_calls=(call("color", "{}", "call_9"),)),)
    ended = TURN.model_copy(update={"status": "completed", "finish_reason": "tool_calls", "attempt": 1})
    stored = STORED.model_copy(update={"turn": ended, "output": output})
    face = stream()
    frames = [frame("delta", 2, text="Let me see."), stream_frame(*terminal_frame(ended, output), FrameId(1, 3))]
    client = Client().read(face.start() + face.frames(frames).data)
    assert client.messages == thread_messages([stored])
    name = client.messages[-1]["toolCalls"][0]["id"]
    assert name == f"{TRN}:call_9"
    result = {"id": "t-1", "role": "tool", "toolCallId": name, "content": "blue"}
    run = asked([*client.messages, result])
    assert [(each.role, each.content, each.call_id) for each in run.messages] == [("tool", "blue", "call_9")]
    assert run.parent == TRN
    said = message("blue", role="tool", tool_call_id="call_9", client_id="t-1")
    follower = StoredTurn(turn=ENDED.model_copy(update={"id": new_id("trn")}), number=2, input=(said,))
    assert thread_messages([stored, follower])[-1] == result


def test_the_fast_path_sends_the_same_bytes_and_only_into_an_open_text() -> None:
    sent, face = list[bytes](), stream()

    def send(data: bytes) -> bool:
        sent.append(data)
        return True

    forward = face.fast_path(send)
    text = frame("delta", 2, text='a "b"')
    assert not forward(text.data)
    face.frames([frame("delta", 1, text="x")])
    assert forward(text.data)
    assert events(sent[0]) == [{"type": "TEXT_MESSAGE_CONTENT", "messageId": f"{TRN}.0", "delta": 'a "b"'}]
    face.frames(FRAMES[2:3])
    assert not forward(text.data)


def test_failures_are_run_errors_and_an_interrupted_run_never_ends_cleanly() -> None:
    problem = ApiError(Code.UPSTREAM_ERROR, "The model broke off.").problem()
    face = stream()
    face.frames([frame("delta", 2, text="half")])
    rendered = face.frames([frame("error", 3, turnId=TRN, **problem)])
    assert events(rendered.data)[-1] == {
        "type": "RUN_ERROR",
        "message": "The model broke off.",
        "code": "upstream_error",
    }
    assert kinds(stream().failed(ApiError(Code.TURN_NOT_FOUND)).data) == ["RUN_ERROR"]
    assert stream().interrupted() == ((), End.BROKEN)


def test_reasoning_has_messages_of_its_own() -> None:
    data = stream().frames([frame("reasoning", 2, text="hm"), frame("delta", 3, text="so")]).data
    assert kinds(data) == [
        "REASONING_START",
        "REASONING_MESSAGE_START",
        "REASONING_MESSAGE_CONTENT",
        "REASONING_MESSAGE_END",
        "REASONING_END",
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
    ]


def user(text: str, name: str = "m-2") -> dict[str, Any]:
    return {"id": name, "role": "user", "content": text}


ANSWER = answer_messages(TRN, [each.public("ses_1", TRN) for each in OUTPUT], "stop")


def test_what_counts_of_a_conversation_is_behind_its_last_answer() -> None:
    run = asked([*BEFORE, *ANSWER, user("And now?")])
    assert ([each.content for each in run.messages], run.parent) == (["And now?"], TRN)
    parts = [{"type": "text", "text": "And"}, {"type": "text", "text": "now?"}]
    assert asked([{"id": "m", "role": "user", "content": parts}]).messages[0].content == "And\nnow?"
    assert asked([user("x")]).parent is None


@pytest.mark.parametrize("shown", range(1, len(ANSWER) + 1))
def test_a_repeat_asks_the_same_whatever_of_the_answer_has_arrived(shown: int) -> None:
    run = asked([*BEFORE, *ANSWER[:shown]])
    assert ([each.content for each in run.messages], run.before, run.parent) == (["Is it hot?"], BEFORE, None)


@pytest.mark.parametrize(
    "messages",
    [
        [],
        ANSWER,
        [{"id": "m", "role": "user", "content": " "}],
        [{"id": "m", "role": "user", "content": [{"type": "image", "source": {}}]}],
        [{"id": "m", "role": "user", "content": "x" * 100_001}],
        [{"id": "m", "role": "tool", "toolCallId": "unknown", "content": "x"}],
    ],
)
def test_what_cannot_be_answered_is_refused(messages: list[dict[str, Any]]) -> None:
    with pytest.raises(ApiError) as raised:
        asked(messages)
    assert raised.value.code in (Code.INVALID_REQUEST, Code.VALIDATION_FAILED)


def test_tools_and_context_of_the_client_are_for_this_run() -> None:
    given = {"threadId": "t", "runId": "r", "messages": [], "state": {}, "protocolVersion": "9", "resume": []}
    assert validated(RunAgentInput, given).completion() is None
    tool = {"name": "color", "description": "The page's color", "parameters": {"type": "object"}, "later": 1}
    context = [{"description": "page", "value": "checkout"}]
    completion = validated(RunAgentInput, {**given, "tools": [tool], "context": context}).completion()
    assert completion is not None
    assert completion.tools[0].function == {name: tool[name] for name in ("name", "description", "parameters")}
    assert completion.instructions is not None
    assert "page: checkout" in completion.instructions
