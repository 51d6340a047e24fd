"""Pure: a turn's frames as AG-UI's events.

An event of text is bytes put around the text's JSON as it is in the frame: nothing is parsed or dumped per delta.
Members without a value are left out: the client refuses null.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from services.gateway.faces.agui.ids import call_id, message_id, result_id
from services.gateway.faces.agui.messages import Message, answer_messages
from services.gateway.faces.call_ids import CallIds
from services.gateway.streaming.renderer import PING, End, Rendered, Send
from shared.contracts.errors import ApiError
from shared.contracts.frames import StreamFrame, data_of, delta_text, json_line
from shared.contracts.turns import Turn

_USAGE: Final = {
    "promptTokens": "inputTokens",
    "completionTokens": "outputTokens",
    "totalTokens": "totalTokens",
    "cachedTokens": "cachedInputTokens",
    "reasoningTokens": "reasoningTokens",
}


MAX_SNAPSHOT: Final = 64 << 10


def event(kind: str, **members: Any) -> bytes:
    return b"data: " + json_line({"type": kind, **members}) + b"\n\n"


class AgUiStream:
    """`before`: the messages that the client has without this run's. With them it drops what is void.

    `is_repeat`: the client may have a part of the run already. A stream that is not whole is broken off: the client
    takes a clean end for a whole answer.
    """

    can_restart: Final = False

    def __init__(
        self, turn: Turn, thread_id: str, run_id: str, before: Sequence[Message], *, is_repeat: bool = False
    ) -> None:
        self.turn = turn
        self._run = {"threadId": thread_id, "runId": run_id}
        snapshot = b'data: {"type":"MESSAGES_SNAPSHOT","messages":' + json_line(list(before)) + b"}\n\n"
        self._first = event("RUN_STARTED", **self._run) + (snapshot if is_repeat else b"")
        # Kept as bytes and within a bound: a stream may last for minutes, and there are thousands of them.
        self._snapshot = snapshot if len(snapshot) <= MAX_SNAPSHOT else None
        self._begin()

    def _begin(self) -> None:
        self._shown = False
        self._open: str | None = None
        self._number = 0
        self._has_results = False
        self._ids = CallIds()

    def start(self) -> bytes:
        first, self._first = self._first, b""
        return first

    def frames(self, frames: Sequence[StreamFrame]) -> Rendered:
        last = max((index for index, frame in enumerate(frames) if frame.event == "restarted"), default=None)
        if last is None:
            return self._rendered(frames, [])
        void = list[bytes]()
        if self._shown:
            if self._snapshot is None:
                return Rendered((), End.BROKEN)  # The client gets the snapshot when it repeats the run.
            void = [*self._close(), self._snapshot]
        self._begin()
        if data_of(frames[last].data)["reason"] == "log_expired" and frames[-1].event == "done":
            # The stored turn follows: its messages say more than the frames before its end.
            return Rendered([*void, *self._finish(data_of(frames[-1].data), is_stored=True)], End.CLEAN)
        return self._rendered(frames[last + 1 :], void)

    def _rendered(self, frames: Sequence[StreamFrame], parts: list[bytes]) -> Rendered:
        for frame in frames:
            if (text := delta_text(frame.data)) is not None:
                parts += self._text(text)
                continue
            kind = frame.event
            if kind == "done":
                return Rendered([*parts, *self._finish(data_of(frame.data))], End.CLEAN)
            if kind == "error":
                return Rendered([*parts, *self._close(), _failure(data_of(frame.data))], End.CLEAN)
            parts += self._other(kind, frame)
        return Rendered(parts)

    def fast_path(self, send: Send) -> Send:
        def forward(frame: bytes) -> bool:
            if self._open != "text" or (text := delta_text(frame)) is None:
                return False
            return send(b"".join((self._before_text, text, b"}\n\n")))

        return forward

    def ping(self) -> bytes:
        return PING

    def interrupted(self) -> Rendered:
        return Rendered((), End.BROKEN)

    def failed(self, error: ApiError) -> Rendered:
        return Rendered([*self._close(), _failure(error.problem())], End.CLEAN)

    def _text(self, text: bytes) -> list[bytes]:
        opening = list[bytes]()
        if self._open != "text":
            opening, name = self._close(), self._message()
            self._shown, self._open = True, "text"
            self._before_text = b'data: {"type":"TEXT_MESSAGE_CONTENT","messageId":"%b","delta":' % name.encode()
            opening.append(event("TEXT_MESSAGE_START", messageId=name, role="assistant"))
        return [*opening, self._before_text + text + b"}\n\n"]

    def _message(self) -> str:
        """The id of the message that is being written. Behind the results of tools the model writes another one."""
        if self._has_results:
            self._number, self._has_results = self._number + 1, False
        return message_id(self.turn.id, self._number)

    def _close(self) -> list[bytes]:
        kind, self._open = self._open, None
        if kind == "text":
            return [event("TEXT_MESSAGE_END", messageId=message_id(self.turn.id, self._number))]
        if kind == "reasoning":
            name = self._thought()
            return [event("REASONING_MESSAGE_END", messageId=name), event("REASONING_END", messageId=name)]
        return []

    def _thought(self) -> str:
        return f"{message_id(self.turn.id, self._number)}.reasoning"

    def _other(self, kind: str, frame: StreamFrame) -> list[bytes]:
        if kind == "reasoning":
            return self._reasoning(data_of(frame.data)["text"])
        if kind == "tool_call":
            data = data_of(frame.data)
            return self._call(call_id(self.turn.id, self._ids.opened(data["toolCallId"])), data)
        if kind == "tool_result":
            data = data_of(frame.data)
            self._has_results = True
            return [_result(call_id(self.turn.id, self._ids.of(data["toolCallId"])), data["result"])]
        return []

    def _reasoning(self, text: str) -> list[bytes]:
        opening = list[bytes]()
        if self._open != "reasoning":
            opening = self._close()
            self._message()
            self._shown, self._open = True, "reasoning"
            opening.append(event("REASONING_START", messageId=self._thought()))
            opening.append(event("REASONING_MESSAGE_START", messageId=self._thought(), role="reasoning"))
        return [*opening, event("REASONING_MESSAGE_CONTENT", messageId=self._thought(), delta=text)]

    def _call(self, call: str, data: dict[str, Any]) -> list[bytes]:
        closing, self._shown = self._close(), True
        return [*closing, *_call_events(call, data["name"], data["arguments"], self._message())]

    def _finish(self, data: dict[str, Any], *, is_stored: bool = False) -> list[bytes]:
        parts = self._close()
        answer = answer_messages(self.turn.id, data["messages"], data.get("finishReason"))
        if is_stored:
            parts += [part for message in answer for part in _whole(message)]
        elif data.get("finishReason") == "tool_calls" and answer:
            parts += _calls_of(answer[-1])
        citations = [each for message in data["messages"] for each in message.get("citations") or ()]
        if citations:
            parts.append(event("CUSTOM", name="citations", value=citations))
        result = {"turnId": self.turn.id, "sessionId": self.turn.session_id, "status": data["status"]}
        result |= {"finishReason": data.get("finishReason")} if data.get("finishReason") else {}
        usage = {"usage": [_usage(data["usage"])]} if data.get("usage") else {}
        return [*parts, event("RUN_FINISHED", **self._run, result=result, **usage)]


def _usage(usage: dict[str, Any]) -> dict[str, Any]:
    return {name: usage[own] for own, name in _USAGE.items() if usage.get(own) is not None}


def _whole(message: Message) -> Iterable[bytes]:
    """A stored message."""
    if message["role"] == "tool":
        return [_result(message["toolCallId"], message["content"])]
    name, text = message["id"], message["content"]
    said = list[bytes]()
    if text:
        said.append(event("TEXT_MESSAGE_START", messageId=name, role="assistant"))
        said.append(event("TEXT_MESSAGE_CONTENT", messageId=name, delta=text))
        said.append(event("TEXT_MESSAGE_END", messageId=name))
    return [*said, *_calls_of(message)]


def _calls_of(message: Message) -> list[bytes]:
    calls = message.get("toolCalls") or ()
    functions = [(call["id"], call["function"]) for call in calls]
    return [
        part
        for name, function in functions
        for part in _call_events(name, function["name"], function["arguments"], message["id"])
    ]


def _call_events(call: str, name: str, arguments: str, parent: str) -> list[bytes]:
    said = [event("TOOL_CALL_ARGS", toolCallId=call, delta=arguments)] if arguments else []
    started = event("TOOL_CALL_START", toolCallId=call, toolCallName=name, parentMessageId=parent)
    return [started, *said, event("TOOL_CALL_END", toolCallId=call)]


def _result(call: str, text: str) -> bytes:
    return event("TOOL_CALL_RESULT", messageId=result_id(call), toolCallId=call, content=text, role="tool")


def _failure(problem: dict[str, Any]) -> bytes:
    told = str(problem.get("detail") or problem.get("title") or "The turn has failed.")
    return event("RUN_ERROR", message=told, code=problem["code"])
