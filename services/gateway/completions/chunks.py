"""Pure: a turn's frames and results in OpenAI's shapes, `chat.completion` and `chat.completion.chunk`.

A chunk of text is bytes put around the text's JSON as it stands in the frame: nothing is parsed or dumped per delta.
"""

from collections.abc import Sequence
from enum import Enum, auto
from typing import Any, Final, NamedTuple

import orjson

from shared.contracts.errors import ApiError, Code
from shared.contracts.frames import FrameId, StreamFrame, data_of, delta_text, id_text, json_line
from shared.contracts.sessions import TurnMessage
from shared.contracts.turns import Turn

DONE: Final = b"data: [DONE]\n\n"
_FINISH: Final = {"cancelled": "stop", None: "stop"}

_LOST: Final = ApiError(
    Code.TURN_FAILED, "The answer was begun anew after a part of it had been sent; ask again.", retryable=True
)


class End(Enum):
    """How a stream of chunks ended. BROKEN: an error chunk was rendered, and the connection must not end as if the answer were whole."""

    WHOLE = auto()
    BROKEN = auto()


class Rendered(NamedTuple):
    data: bytes
    end: End | None = None


def completion_id(turn_id: str) -> str:
    return "chatcmpl-" + turn_id.removeprefix("trn_")


def turn_id_of(completion: str) -> str:
    """The turn behind a completion's id; not an id at all when `completion` is not one."""
    return "trn_" + completion.removeprefix("chatcmpl-") if completion.startswith("chatcmpl-") else ""


def usage_shape(usage: dict[str, Any] | None) -> dict[str, Any]:
    """Always a whole usage object: some clients fail on parts of one. `estimated` is ours, where the model reported none."""
    usage = usage or {}
    shape: dict[str, Any] = {
        "prompt_tokens": usage.get("promptTokens", 0),
        "completion_tokens": usage.get("completionTokens", 0),
        "total_tokens": usage.get("totalTokens", 0),
        "prompt_tokens_details": {"cached_tokens": usage.get("cachedTokens") or 0},
        "completion_tokens_details": {"reasoning_tokens": usage.get("reasoningTokens") or 0},
    }
    return shape | {"estimated": True} if usage.get("estimated") else shape


def finish_reason(reason: str | None) -> str:
    """A cancelled turn ends like one that stopped: OpenAI has no word for it."""
    return _FINISH.get(reason) or str(reason)


def answer_text(messages: Sequence[dict[str, Any]]) -> str:
    """What was streamed: the text of all of the turn's model calls."""
    return "".join(message.get("content") or "" for message in messages if message["role"] == "assistant")


def caller_calls(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The calls of the caller's tools that a turn ended with. The agent's own calls are never shown: clients would try to run them."""
    if data.get("finishReason") != "tool_calls":
        return []
    last: dict[str, Any] = next(
        (message for message in reversed(data["messages"]) if message["role"] == "assistant"), {}
    )
    return [
        {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": call["arguments"]}}
        for call in last.get("toolCalls") or ()
    ]


def completion_shape(turn: Turn, data: dict[str, Any]) -> dict[str, Any]:
    """A `chat.completion` from the data of a `done` frame."""
    text, calls = answer_text(data["messages"]), caller_calls(data)
    message: dict[str, Any] = {"role": "assistant", "content": None if calls and not text else text, "refusal": None}
    if calls:
        message["tool_calls"] = calls
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": finish_reason(data.get("finishReason")),
    }
    return {
        "id": completion_id(turn.id),
        "object": "chat.completion",
        "created": int(turn.created_at.timestamp()),
        "model": turn.agent_id,
        "system_fingerprint": f"fp_{turn.agent_version}",
        "choices": [choice],
        "usage": usage_shape(data.get("usage")),
    }


def message_shape(completion: str, index: int, message: TurnMessage) -> dict[str, Any]:
    """One of a stored completion's messages."""
    shape: dict[str, Any] = {"id": f"{completion}-{index}", "role": message.role, "content": message.content}
    if message.name is not None:
        shape["name"] = message.name
    if message.tool_call_id is not None:
        shape["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        shape["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    return shape


def error_chunk(problem: dict[str, Any]) -> bytes:
    return b"data: " + json_line({"error": problem.get("error") or {}}) + b"\n\n"


class ChunkStream:
    """Renders one turn's frames as chunks. Remembers only whether text went out.

    `has_text`: the client has text of this turn already, from a stream that this one resumes.
    """

    def __init__(self, turn: Turn, *, include_usage: bool, has_text: bool = False) -> None:
        head = {
            "id": completion_id(turn.id),
            "object": "chat.completion.chunk",
            "created": int(turn.created_at.timestamp()),
            "model": turn.agent_id,
            "system_fingerprint": f"fp_{turn.agent_version}",
        }
        self._has_text = has_text
        self._include_usage = include_usage
        self._head = b"data: " + orjson.dumps(head)[:-1]
        self._tail = b',"usage":null' if include_usage else b""
        self._before_text = self._head + b',"choices":[{"index":0,"delta":{"content":'
        self._after_text = b'},"logprobs":null,"finish_reason":null}]' + self._tail

    def role(self) -> bytes:
        """The first chunk."""
        return self._chunk({"role": "assistant", "content": ""})

    def text(self, text: str) -> bytes:
        self._has_text = True
        return self._text(json_line(text), None)

    def render(self, frames: Sequence[StreamFrame]) -> Rendered:
        """The chunks of some frames, in order. Nothing may be rendered after an `end`."""
        begin = _after_restart(frames)
        if begin and self._has_text:
            return Rendered(error_chunk(_LOST.problem()), End.BROKEN)
        parts: list[bytes] = []
        for frame in frames[begin:]:
            if (text := delta_text(frame.data)) is not None:
                self._has_text = True
                parts.append(self._text(text, frame.id))
                continue
            event = frame.event
            if event == "error":
                return Rendered(b"".join([*parts, error_chunk(data_of(frame.data))]), End.BROKEN)
            if event == "done":
                return Rendered(b"".join([*parts, self.finish(data_of(frame.data), frame.id)]), End.WHOLE)
        return Rendered(b"".join(parts))

    def published(self, frame: bytes) -> bytes | None:
        """The chunk of a published frame; None when the frame is more than a piece of text."""
        text = delta_text(frame)
        if text is None:
            return None
        self._has_text = True
        parts = (self._before_text, text, self._after_text, b',"parley":{"cursor":"', id_text(frame), b'"}}\n\n')
        return b"".join(parts)

    def finish(self, data: dict[str, Any], cursor: FrameId | None) -> bytes:
        """What follows the text of a turn that is done: the caller's calls, the finish reason, the usage if it was asked for."""
        calls = caller_calls(data)
        parts = [chunk for index, call in enumerate(calls) for chunk in self._call(index, call)]
        parts.append(self._chunk({}, finish_reason(data.get("finishReason")), cursor))
        if self._include_usage:
            parts.append(
                self._head + b',"choices":[],"usage":' + orjson.dumps(usage_shape(data.get("usage"))) + b"}\n\n"
            )
        parts.append(DONE)
        return b"".join(parts)

    def _call(self, index: int, call: dict[str, Any]) -> list[bytes]:
        """One call in two chunks, its name in the first only: some clients join names over chunks, or read only the first of a list."""
        function = call["function"]
        opening = {"index": index, **call, "function": {"name": function["name"], "arguments": ""}}
        return [
            self._chunk({"tool_calls": [delta]})
            for delta in (opening, {"index": index, "function": {"arguments": function["arguments"]}})
        ]

    def _text(self, text: bytes, cursor: FrameId | None) -> bytes:
        return self._before_text + text + self._after_text + _cursor(cursor)

    def _chunk(self, delta: dict[str, Any], finish: str | None = None, cursor: FrameId | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return self._head + b',"choices":[' + json_line(choice) + b"]" + self._tail + _cursor(cursor)


def _cursor(cursor: FrameId | None) -> bytes:
    return b"}\n\n" if cursor is None else b',"parley":{"cursor":"%d-%d"}}\n\n' % cursor


def _after_restart(frames: Sequence[StreamFrame]) -> int:
    """Where the last attempt's frames begin among these: what stands before is void. 0 when no restart is among them."""
    for index in range(len(frames) - 1, -1, -1):
        if frames[index].event == "restarted":
            return index + 1
    return 0
