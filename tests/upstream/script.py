"""What a scripted model server answers: replies, and builders of the chunks that they hold."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

# A float is a pause in seconds, None cuts the connection.
Piece = bytes | float | None

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, kw_only=True)
class Reply:
    pieces: tuple[Piece, ...] = ()
    status: int = 200
    content_type: str = "text/event-stream"
    headers: dict[str, str] = field(default_factory=dict)


Script = Reply | Callable[[dict[str, Any]], Reply]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a caller of `Models.answer` gets. `calls` are names and arguments. `fault` is the kind of the ModelFault."""

    text: str = ""
    finish: str | None = "stop"
    calls: tuple[tuple[str, str], ...] = ()
    reasoning: str = ""
    usage: tuple[int, int, int] | None = None
    fault: str | None = None
    retryable: bool | None = None
    requests: int = 1
    quirk: str | None = None


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """`replies` go out one a request; the last repeats. `options` configure the upstream."""

    replies: tuple[Script, ...]
    outcome: Outcome
    options: dict[str, Any] = field(default_factory=dict)


def event(value: Any) -> bytes:
    return b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"


def delta(finish: str | None = None, *, more: dict[str, Any] | None = None, **members: Any) -> bytes:
    """A chunk with one choice; `more` are members of the chunk beside its choices."""
    choice = {"index": 0, "delta": members, "finish_reason": finish}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return event({**head, "choices": [choice], **(more or {})})


def text(*pieces: str) -> bytes:
    return b"".join(delta(content=piece) for piece in pieces)


def call(name: str | None = None, arguments: Any = None, **members: Any) -> dict[str, Any]:
    """An entry of `tool_calls`."""
    function = {"name": name, "arguments": arguments}
    return {**members, "function": {key: value for key, value in function.items() if value is not None}}


def calls(*entries: dict[str, Any]) -> bytes:
    return delta(tool_calls=list(entries))


def usage(prompt: Any, completion: Any, **more: Any) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, **more}


def stream(*pieces: Piece, finish: str | None = "stop", done: bool = True, **headers: str) -> Reply:
    """An event stream that ends as the protocol says."""
    tail: tuple[Piece, ...] = (() if finish is None else (delta(finish),)) + ((DONE,) if done else ())
    return Reply(pieces=(*pieces, *tail), headers=headers)


def refused(status: int, body: Any = None, **headers: str) -> Reply:
    """An error with a JSON body."""
    body = {"error": {"message": "no", "type": "t", "param": None, "code": None}} if body is None else body
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(pieces=(content,), status=status, content_type="application/json", headers=named)


def whole(message: dict[str, Any], finish: str = "stop", content_type: str = "application/json", **more: Any) -> Reply:
    """A completion that is not streamed."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    body = {"id": "chatcmpl-1", "object": "chat.completion", "choices": [choice], **more}
    return Reply(pieces=(json.dumps(body).encode(),), content_type=content_type)


def behaviour(*replies: Script, options: dict[str, Any] | None = None, **outcome: Any) -> Behaviour:
    return Behaviour(replies=replies, outcome=Outcome(**outcome), options=options or {})


def fault(*replies: Script, kind: str, retryable: bool, requests: int, text: str = "") -> Behaviour:
    return Behaviour(
        replies=replies,
        outcome=Outcome(fault=kind, retryable=retryable, requests=requests, finish=None, text=text),
    )
