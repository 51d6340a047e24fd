"""Pure: a turn's frames as OpenAI's `chat.completion.chunk`.

A chunk of text is bytes put around the text's JSON as it is in the frame: nothing is parsed or dumped per delta.
"""

from collections.abc import Sequence
from typing import Any, Final

import orjson

from services.gateway.completions.shapes import (
    annotations_of,
    caller_calls,
    caller_companions,
    completion_id,
    finish_reason,
    usage_shape,
)
from services.gateway.streaming.renderer import PING, End, Rendered, Send
from shared.contracts.errors import ApiError, Code
from shared.contracts.frames import FrameId, StreamFrame, data_of, delta_text, json_line, published_delta
from shared.contracts.turns import Turn

DONE: Final = b"data: [DONE]\n\n"

_RESTARTED: Final = ApiError(
    Code.TURN_FAILED,
    "The answer was started again after a part of it had been sent. Send the request again.",
    retryable=True,
)


def error_chunk(problem: dict[str, Any]) -> bytes:
    return b"data: " + json_line({"error": problem.get("error") or {}}) + b"\n\n"


class ChunkStream:
    """The renderer of completions. It remembers only whether text was sent.

    `has_text`: the client has text of this turn already, from a stream that this one resumes.
    An answer that is not whole ends with an error chunk and a broken connection, so that no SDK takes it for whole.
    """

    can_restart: Final = False

    def __init__(
        self, turn: Turn, *, include_usage: bool, include_reasoning: bool = False, has_text: bool = False
    ) -> None:
        head = {
            "id": completion_id(turn.id),
            "object": "chat.completion.chunk",
            "created": int(turn.created_at.timestamp()),
            "model": turn.agent_id,
            "system_fingerprint": f"fp_{turn.agent_version}",
        }
        self._has_text = has_text
        self._include_usage = include_usage
        self._include_reasoning = include_reasoning
        self._head = b"data: " + orjson.dumps(head)[:-1]
        self._tail = b',"usage":null' if include_usage else b""
        self._before_text = self._head + b',"choices":[{"index":0,"delta":{"content":'
        self._after_text = b'},"logprobs":null,"finish_reason":null}]' + self._tail

    def start(self) -> bytes:
        """The role."""
        return self._chunk({"role": "assistant", "content": ""})

    def frames(self, frames: Sequence[StreamFrame]) -> Rendered:
        start = _after_restart(frames)
        if start and self._has_text:
            return Rendered([error_chunk(_RESTARTED.problem())], End.BROKEN)
        parts: list[bytes] = []
        for frame in frames[start:]:
            if (text := delta_text(frame.data)) is not None:
                self._has_text = True
                parts.append(self._text(text, frame.id))
                continue
            event = frame.event
            if event == "reasoning" and self._include_reasoning:
                parts.append(self._chunk({"reasoning_content": data_of(frame.data)["text"]}, cursor=frame.id))
            if event == "error":
                return Rendered([*parts, error_chunk(data_of(frame.data))], End.BROKEN)
            if event == "done":
                return Rendered([*parts, self.finish(data_of(frame.data), frame.id)], End.CLEAN)
        return Rendered(parts)

    def fast_path(self, send: Send) -> Send:
        before, after = self._before_text, self._after_text + b',"parley":{"cursor":"'

        def forward(frame: bytes) -> bool:
            delta = published_delta(frame)
            if delta is None:
                return False
            text, cursor = delta
            if not send(b"".join((before, text, after, cursor, b'"}}\n\n'))):
                return False
            self._has_text = True
            return True

        return forward

    def ping(self) -> bytes:
        return PING

    def interrupted(self) -> Rendered:
        return Rendered([error_chunk(ApiError(Code.DRAINING).problem())], End.BROKEN)

    def failed(self, error: ApiError) -> Rendered:
        return Rendered([error_chunk(error.problem())], End.BROKEN)

    def finish(self, data: dict[str, Any], cursor: FrameId | None) -> bytes:
        """What follows the text: citations, the caller's calls, the finish reason, and the usage if asked for."""
        calls = caller_calls(data)
        companions = caller_companions(data)
        parts = [self._chunk(companions)] if companions else []
        if annotations := annotations_of(data["messages"]):
            parts.append(self._chunk({"annotations": annotations}))
        parts += [chunk for index, call in enumerate(calls) for chunk in self._call(index, call)]
        parts.append(self._chunk({}, finish_reason(data.get("finishReason")), cursor))
        if self._include_usage:
            parts.append(
                self._head + b',"choices":[],"usage":' + orjson.dumps(usage_shape(data.get("usage"))) + b"}\n\n"
            )
        parts.append(DONE)
        return b"".join(parts)

    def _call(self, index: int, call: dict[str, Any]) -> list[bytes]:
        """One call in two chunks, its name in the first only.

        Some clients join names over chunks, or read only the first call of a list.
        """
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
    """The index of the last attempt's first frame; the frames before it are void. 0 when there is no restart."""
    for index in range(len(frames) - 1, -1, -1):
        if frames[index].event == "restarted":
            return index + 1
    return 0
