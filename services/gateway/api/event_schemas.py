"""JSON schemas of the events of a turn's stream and of a session's, told apart by `event`.

On the wire `data` is one line of JSON: `TurnStream` and `SessionStream` say so. `TurnEvent` and `SessionEvent` are an
event whose `data` was parsed, so that generated clients have a type for each. A test compares the members with the
tables of the contracts.
"""

from typing import Any, Final

from services.gateway.api.event_examples import event_example
from services.gateway.api.schemas import MESSAGE, PASSAGES, TIME, USAGE
from services.gateway.edge.json_schema import COUNT, MAYBE_TEXT, PROBLEM, TEXT, Named, object_of, one_of
from shared.contracts.frame_types import FRAME_TYPES, FrameType
from shared.contracts.session_events import POSITION_PATTERN, SESSION_EVENT_TYPES

_TIMING: Final = {"anyOf": [{"$ref": "#/components/schemas/Timing"}, {"type": "null"}]}
_MESSAGES: Final = {"type": "array", "items": MESSAGE}
_FINISH: Final = {"enum": ["stop", "length", "tool_calls", "content_filter", "cancelled", None]}
_END: Final = {"finishReason": _FINISH, "messages": _MESSAGES, "usage": USAGE, "timing": _TIMING}
_CALL: Final = {"toolCallId": TEXT, "name": TEXT}
_PROBLEM_MEMBERS: Final[dict[str, Any]] = PROBLEM["properties"]
_IN_STREAMS: Final = (
    "type",
    "title",
    "status",
    "detail",
    "code",
    "retryable",
    "error",
    "instance",
    "errors",
    "traceId",
)
_SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "queued": {"turnId": TEXT, "sessionId": TEXT, "userMessageId": TEXT, "position": COUNT},
    "started": {"turnId": TEXT, "agentId": TEXT, "agentVersion": COUNT, "attempt": COUNT, "waitMs": COUNT},
    "delta": {"text": TEXT},
    "reasoning": {"text": TEXT},
    "kb_retrieval": {"query": TEXT, "passages": PASSAGES},
    "tool_call": {**_CALL, "arguments": TEXT},
    "tool_result": {**_CALL, "status": {"enum": ["ok", "error"]}, "result": TEXT, "durationMs": COUNT},
    "guardrail": {"stage": {"enum": ["input", "output"]}, "action": {"enum": ["block", "replace"]}, "name": TEXT},
    "restarted": {"attempt": COUNT, "reason": {"enum": ["worker_lost", "log_expired"]}},
    "done": {"turnId": TEXT, "status": {"enum": ["completed", "cancelled"]}, **_END, "traceId": TEXT},
    "error": {"turnId": TEXT, **{name: _PROBLEM_MEMBERS[name] for name in _IN_STREAMS}},
    "turn_started": {
        "turnId": TEXT,
        "sessionId": TEXT,
        "number": COUNT,
        "agentId": TEXT,
        "agentVersion": COUNT,
        "createdAt": TIME,
        "messages": _MESSAGES,
    },
    "turn_ended": {
        "turnId": TEXT,
        "number": COUNT,
        "status": {"enum": ["completed", "cancelled", "failed"]},
        **_END,
        "error": PROBLEM,
    },
    "session_ended": {"sessionId": TEXT, "endedReason": MAYBE_TEXT, "endedAt": MAYBE_TEXT},
}
_FRAME_ID: Final = {
    "type": "string",
    "pattern": "^[1-9][0-9]*-[1-9][0-9]*$",
    "description": "`<attempt>-<seq>`, only grows; what `Last-Event-ID` takes",
}
_POSITION: Final = {"type": "string", "pattern": POSITION_PATTERN, "description": "`<turnId>.<attempt>-<seq>`"}
_PINGS: Final = "Comment lines (`: ping`) come after at most 5 s of silence."
_PARSED: Final = (
    "A server-sent event whose `data` was parsed. Events of other names may be added: ignore those that you do not"
    " know."
)


def _data(name: str, kind: FrameType) -> dict[str, Any]:
    schemas = _SCHEMAS[name]
    required = {member: schemas[member] for member in kind.members if not member.endswith("?")}
    optional = {member[:-1]: schemas[member[:-1]] for member in kind.members if member.endswith("?")}
    return object_of(required, optional)


def _event(stream: str, name: str, kind: FrameType, place: dict[str, Any], data: Named | None = None) -> Named:
    words = "".join(word.capitalize() for word in name.split("_"))
    data = data or Named(f"{words}Data", _data(name, kind))
    members = object_of({"event": {"const": name}, "data": data}, {"id": place}, kind.when)
    return Named(f"{stream}{words}Event", members, event_example(name, of_session=place is _POSITION))


def _events(stream: str, kinds: dict[str, FrameType], place: dict[str, Any]) -> dict[str, Named]:
    return {name: _event(stream, name, kind, place) for name, kind in kinds.items()}


def _streamed(name: str, event: Named, place: dict[str, Any], description: str) -> Named:
    """An event as it is sent: `data` is text that holds one of the events' data."""
    variants: list[Named] = event["oneOf"]
    data = {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": {"anyOf": [variant["properties"]["data"] for variant in variants]},
        "description": "one line of JSON",
    }
    names = {"enum": [variant["properties"]["event"]["const"] for variant in variants]}
    parsed = f"Parse `data`, and the event is a `{event.name}`."
    members = object_of({"event": names, "data": data}, {"id": place}, f"{description} {parsed} {_PINGS}")
    return Named(name, members)


TURN_EVENT: Final = one_of("TurnEvent", "event", _events("Turn", FRAME_TYPES, _FRAME_ID), _PARSED)
TURN_STREAM: Final = _streamed(
    "TurnStream",
    TURN_EVENT,
    _FRAME_ID,
    "One server-sent event. `done` or `error` comes last; a stream that ends without either is incomplete: resume it.",
)
# What a session's stream tells of a turn while it runs.
_PASSED_ON: Final = {name: kind for name, kind in FRAME_TYPES.items() if not kind.terminal}
SESSION_EVENT: Final = one_of(
    "SessionEvent",
    "event",
    {
        **_events("Session", {**SESSION_EVENT_TYPES, **_PASSED_ON}, _POSITION),
        "error": _event("Session", "error", FRAME_TYPES["error"], _POSITION, PROBLEM),
    },
    _PARSED,
)
SESSION_STREAM: Final = _streamed(
    "SessionStream",
    SESSION_EVENT,
    _POSITION,
    "One server-sent event. `session_ended` comes last; a stream that ends without it goes on: resume it.",
)
