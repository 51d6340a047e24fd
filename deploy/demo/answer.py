"""Pure: one answer of the demo process, whatever thought it up, and its bytes in OpenAI's shapes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

DONE: Final = b"data: [DONE]\n\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """A tool call; `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """How an answer goes wrong, after `after` of its pieces.

    `kind`: an HTTP status, cut, hang, error_chunk or nofinish.
    """

    kind: str
    after: int = 0

    @property
    def status(self) -> int | None:
        return int(self.kind) if self.kind.isdigit() else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """`pieces` are the texts of the chunks; an answer has pieces or calls.

    Pauses are in seconds, `first_s` before the first piece.
    """

    pieces: Sequence[str] = ()
    calls: Sequence[Call] = ()
    usage: dict[str, Any] | None = None
    delay_s: float = 0.0
    first_s: float = 0.0
    fault: Fault | None = None

    @property
    def finish_reason(self) -> str:
        return "tool_calls" if self.calls else "stop"


def usage_of(prompt_tokens: int, completion_tokens: int, *, details: bool = False) -> dict[str, Any]:
    usage: dict[str, Any] = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }
    if details:
        usage["prompt_tokens_details"] = {"cached_tokens": prompt_tokens // 2}
        usage["completion_tokens_details"] = {"reasoning_tokens": completion_tokens // 4}
    return usage


class ChunkRenderer:
    """The SSE chunks of one answer. What they share is rendered once, because this process also serves load tests."""

    def __init__(self, completion_id: str, model: str, created: int) -> None:
        shared = {"id": completion_id, "object": "chat.completion.chunk", "created": created, "model": model}
        self._head = b"data: " + orjson.dumps(shared)[:-1]
        self._before_text = self._head + b',"choices":[{"index":0,"delta":{"content":'
        self._after_text = b'},"finish_reason":null}]}\n\n'

    def role(self) -> bytes:
        return self._choice({"role": "assistant", "content": ""})

    def text(self, piece: str) -> bytes:
        return self._before_text + orjson.dumps(piece) + self._after_text

    def calls(self, calls: Sequence[Call]) -> Iterator[bytes]:
        """As OpenAI streams them: id and name first, then the arguments in pieces, told apart by `index`."""
        for index, call in enumerate(calls):
            opening = {
                "index": index,
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": ""},
            }
            yield self._choice({"tool_calls": [opening]})
            middle = len(call.arguments) // 2
            for part in (call.arguments[:middle], call.arguments[middle:]):
                if part:
                    yield self._choice({"tool_calls": [{"index": index, "function": {"arguments": part}}]})

    def finish(self, reason: str) -> bytes:
        return self._choice({}, reason)

    def usage(self, usage: dict[str, Any]) -> bytes:
        return self._head + b',"choices":[],"usage":' + orjson.dumps(usage) + b"}\n\n"

    def error(self, message: str) -> bytes:
        return b"data: " + orjson.dumps(error_body(message, "server_error")) + b"\n\n"

    def _choice(self, delta: dict[str, Any], reason: str | None = None) -> bytes:
        return (
            self._head
            + b',"choices":'
            + orjson.dumps([{"index": 0, "delta": delta, "finish_reason": reason}])
            + b"}\n\n"
        )


def whole_body(answer: Answer, completion_id: str, model: str, created: int) -> dict[str, Any]:
    """The body of an answer that is not streamed."""
    message: dict[str, Any] = {"role": "assistant", "content": "".join(answer.pieces) or None}
    if answer.calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in answer.calls
        ]
    body: dict[str, Any] = {"id": completion_id, "object": "chat.completion", "created": created, "model": model}
    body["choices"] = [{"index": 0, "message": message, "finish_reason": answer.finish_reason}]
    if answer.usage is not None:
        body["usage"] = answer.usage
    return body


def error_body(message: str, kind: str = "invalid_request_error", code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def text_of(message: dict[str, Any]) -> str:
    """A message's content, given as text or as parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))


def last_user_text(messages: Sequence[dict[str, Any]]) -> str:
    return next((text_of(message) for message in reversed(messages) if message.get("role") == "user"), "")


def estimated_tokens(messages: Sequence[dict[str, Any]]) -> int:
    """Four characters a token: this process has no tokenizer."""
    return sum(len(text_of(message)) for message in messages) // 4 + 1
