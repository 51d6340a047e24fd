"""Pure: one model call's answer, put together from the chunks of its stream."""

import json
from typing import Any, Final

import orjson

from shared.contracts.sessions import ToolCall
from shared.contracts.turns import FinishReason, Usage

MAX_CALLS: Final = 64
MAX_COUNT: Final = 2**53
# What OpenAI-compatible servers say beside OpenAI's own four.
_REASONS: Final[dict[str, FinishReason]] = {
    "stop": "stop",
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
# A delta with one of these shows that the model has begun: a model may think aloud for minutes before its first text.
_TOKENS: Final = ("content", "refusal", "tool_calls", "reasoning_content", "reasoning")


class BadChunk(Exception):
    """A chunk is not of the shape that the protocol promises."""


def load_chunk(payload: bytes) -> dict[str, Any]:
    """A chunk's JSON. orjson refuses halves of surrogate pairs, which servers that cut text by UTF-16 units send. Raises BadChunk."""
    try:
        value = orjson.loads(payload)
    except orjson.JSONDecodeError:
        try:
            value = json.loads(payload)
        except (ValueError, RecursionError):
            raise BadChunk("not JSON") from None
    if not isinstance(value, dict):
        raise BadChunk("not an object")
    return value


def whole_characters(text: str) -> str:
    """Text with its surrogate pairs joined and lone halves replaced by U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class _Call:
    """A tool call that is being written."""

    __slots__ = ("arguments", "id", "name")

    def __init__(self, call_id: str) -> None:
        self.id = call_id
        self.name = ""
        self.arguments: list[str] = []


class Answer:
    """Text, tool calls, usage and finish reason of one model call.

    `add` gives back the text that may be shown: characters are never cut, so half of a surrogate pair waits for the other.
    `size` counts characters of text and of arguments; `started`: a first token, of whatever kind, has come. `id_stem` makes
    ids for tool calls that come without one.
    """

    __slots__ = ("_calls", "_half", "_id_stem", "_reason", "_usage", "has_reason", "size", "started", "text")

    def __init__(self, id_stem: str = "") -> None:
        self.text: list[str] = []
        self.size = 0
        self.started = False
        self.has_reason = False
        self._id_stem = id_stem
        self._half = ""
        self._reason: FinishReason = "stop"
        self._usage: dict[str, Any] | None = None
        self._calls: dict[int, _Call] = {}

    def add(self, chunk: dict[str, Any]) -> str:
        """The text of this chunk. Raises BadChunk."""
        content: str
        try:
            choices = chunk["choices"]
            if not choices:
                self._note_usage(chunk)
                return ""
            choice = choices[0]
            delta = choice["delta"]
            content = delta["content"]
            # The fast path: a chunk that brings nothing but text. To encode it is the quickest way to see that no character is cut.
            if (
                content
                and len(delta) <= 2
                and not self._half
                and choice.get("finish_reason") is None
                and content.encode()
            ):
                self.started = True
                self.size += len(content)
                self.text.append(content)
                if chunk.get("usage"):
                    self._note_usage(chunk)
                return content
        except (KeyError, TypeError, IndexError, AttributeError, UnicodeEncodeError):
            pass
        return self._add_slowly(chunk)

    def _add_slowly(self, chunk: dict[str, Any]) -> str:
        self._note_usage(chunk)
        choices = chunk.get("choices") or []
        if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
            raise BadChunk("choices")
        if not choices:
            return ""
        choice = choices[0]
        delta = choice.get("delta") or {}
        if not isinstance(delta, dict):
            raise BadChunk("delta")
        if any(delta.get(name) for name in _TOKENS):
            self.started = True
        calls = delta.get("tool_calls") or []
        if not isinstance(calls, list):
            raise BadChunk("tool_calls")
        for call in calls:
            self._add_call(call)
        # A refusal is what the user is told instead of an answer.
        text: str = self._add_text(delta.get("content") or delta.get("refusal") or "")
        reason: Any = choice.get("finish_reason")
        if reason is not None:
            self.has_reason = True
            self._reason = _REASONS.get(reason, "stop") if isinstance(reason, str) else "stop"
            text += self.flush()
        return text

    def _add_text(self, content: Any) -> str:
        if isinstance(content, list):
            # Some servers stream parts as requests have them; thoughts among them are not for the user.
            content = "".join(
                str(part.get("text", "")) for part in content if isinstance(part, dict) and part.get("type") == "text"
            )
        if not isinstance(content, str):
            raise BadChunk("content")
        if not content:
            return ""
        text = self._half + content
        self._half = ""
        if "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        if not text.isascii():
            text = whole_characters(text)
        self._put(text)
        return text

    def _put(self, text: str) -> None:
        if text:
            self.size += len(text)
            self.text.append(text)

    def flush(self) -> str:
        """The stream is over: a half that still waits has no other."""
        text = "\ufffd" if self._half else ""
        self._half = ""
        self._put(text)
        return text

    def _add_call(self, piece: Any) -> None:
        if not isinstance(piece, dict):
            raise BadChunk("tool_calls")
        function = piece.get("function") or {}
        if not isinstance(function, dict):
            raise BadChunk("function")
        call = self._call_of(piece, function)
        name, arguments = function.get("name") or "", function.get("arguments") or ""
        if isinstance(arguments, dict):
            # Some servers send an object where the protocol has its text.
            arguments = orjson.dumps(arguments).decode()
        if not isinstance(name, str) or not isinstance(arguments, str):
            raise BadChunk("function")
        # The name comes whole; servers that repeat it with each piece must not double it.
        call.name = call.name or name[:256]
        call.arguments.append(arguments)
        self.size += len(arguments)

    def _call_of(self, piece: dict[str, Any], function: dict[str, Any]) -> _Call:
        """The call that a piece belongs to: by index; by a new id where a server gives none, or the same to all."""
        index, call_id = piece.get("index"), piece.get("id")
        known = list(self._calls)
        if not isinstance(index, int):
            index = known[-1] if known else 0
        call = self._calls.get(index)
        if call is None or (isinstance(call_id, str) and call_id and function.get("name") and call_id != call.id):
            if len(known) >= MAX_CALLS:
                raise BadChunk("too many tool calls")
            index = index if call is None else max(known) + 1
            plausible = isinstance(call_id, str) and 0 < len(call_id) <= 128
            call = self._calls[index] = _Call(str(call_id) if plausible else f"call_{self._id_stem}_{index}")
        return call

    def _note_usage(self, chunk: dict[str, Any]) -> None:
        """The last one stands: some servers send a running count with every chunk."""
        usage = chunk.get("usage")
        if isinstance(usage, dict):
            self._usage = usage

    # --- what came of it

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """In the order of their indexes. None, when the answer was cut off: their arguments cannot be trusted."""
        if self._reason in ("length", "content_filter"):
            return ()
        calls = [call for _, call in sorted(self._calls.items())]
        return tuple(
            ToolCall(
                id=whole_characters(call.id),
                name=whole_characters(call.name),
                arguments=whole_characters("".join(call.arguments)),
            )
            for call in calls
        )

    @property
    def finish_reason(self) -> FinishReason:
        """Whatever the server says, an answer with tool calls waits for their results, and one without does not."""
        if self.tool_calls:
            return "tool_calls"
        return "stop" if self._reason == "tool_calls" else self._reason

    def cut(self) -> None:
        """The answer grew too long and is not read on."""
        self._reason = "length"
        self.has_reason = True

    @property
    def usage(self) -> Usage | None:
        """As the model reported it; None when it did not, or not credibly."""
        usage = self._usage or {}
        prompt, completion = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
        if prompt is None or completion is None:
            return None
        total = _count(usage, "total_tokens")
        return Usage(
            prompt_tokens=prompt,
            completion_tokens=completion,
            total_tokens=prompt + completion if total is None else total,
            cached_tokens=_count(usage.get("prompt_tokens_details"), "cached_tokens"),
            reasoning_tokens=_count(usage.get("completion_tokens_details"), "reasoning_tokens"),
        )


def _count(holder: Any, name: str) -> int | None:
    value = holder.get(name) if isinstance(holder, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_COUNT else None
