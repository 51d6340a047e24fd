"""JSON schemas of what the session routes send and no contract describes: views of a turn, its stream."""

from typing import Any, Final

from services.gateway.edge.json_schema import COUNT, MAYBE_TEXT, TEXT, object_of
from shared.contracts.frame_types import FRAME_TYPES
from shared.contracts.session_events import POSITION_PATTERN, SESSION_EVENT_TYPES

_PASSAGE: Final[dict[str, Any]] = {"id": TEXT, "sourceId": TEXT, "title": TEXT}
_PLACE: Final[dict[str, Any]] = {"heading": TEXT, "url": TEXT, "page": {"type": "integer"}}
_RETRIEVAL: Final = object_of(
    {
        "query": TEXT,
        "passages": {
            "type": "array",
            "items": object_of(
                {"sourceId": TEXT, "title": TEXT, "text": TEXT, "score": {"type": "number"}},
                {"id": TEXT, **_PLACE, "marker": {"type": "integer", "description": "the n of `[n]` in the answer"}},
            ),
        },
    }
)
_CITATION: Final = object_of(
    {"marker": {"type": "integer"}, "start": COUNT, "end": COUNT, "passage": object_of(_PASSAGE, _PLACE)},
    None,
    "A marker `[n]` in `content`. `start` and `end` are its place, in Unicode characters, `end` excluded.",
)
MESSAGE: Final = object_of(
    {
        "id": TEXT,
        "turnId": TEXT,
        "role": {"enum": ["user", "assistant", "tool"]},
        "createdAt": {"type": "string", "format": "date-time"},
    },
    {
        "sessionId": TEXT,
        "parentTurnId": {**MAYBE_TEXT, "description": "with `branches=all`: the turn that the message's turn follows"},
        "content": TEXT,
        "toolCalls": {"type": "array", "items": object_of({"id": TEXT, "name": TEXT, "arguments": TEXT})},
        "toolCallId": TEXT,
        "knowledge": {"type": "array", "items": _RETRIEVAL},
        "citations": {"type": "array", "items": _CITATION},
        "status": {"enum": ["complete", "partial"]},
        "empty": {"const": True, "description": "the model answered nothing; no later prompt contains the message"},
    },
)
TURN_RESULT: Final = object_of(
    {
        "turnId": TEXT,
        "status": {"enum": ["completed", "cancelled"]},
        "finishReason": MAYBE_TEXT,
        "messages": {"type": "array", "items": MESSAGE},
        "usage": {"anyOf": [{"$ref": "#/components/schemas/Usage"}, {"type": "null"}]},
    }
)
TURN_ACCEPTED: Final = object_of(
    {"turnId": TEXT, "sessionId": TEXT, "status": {"enum": ["queued", "running", "completed", "cancelled", "failed"]}}
)
DELETED: Final = object_of({"id": TEXT, "deleted": {"const": True}})
EVENTS: Final = object_of(
    {
        "event": {
            "enum": list(FRAME_TYPES),
            "description": "`done` or `error` comes last; a stream that ends without either is incomplete: resume it",
        },
        "data": {"type": "string", "contentMediaType": "application/json", "description": "one line of JSON"},
    },
    {"id": {"type": "string", "pattern": "^[1-9][0-9]*-[1-9][0-9]*$", "description": "`<attempt>-<seq>`, only grows"}},
    "One server-sent event. Comment lines (`: ping`) come after at most 5 s of silence.",
)
SESSION_EVENTS: Final = object_of(
    {
        "event": {
            "enum": [*SESSION_EVENT_TYPES, *(name for name, kind in FRAME_TYPES.items() if not kind.terminal), "error"],
            "description": "`session_ended` comes last; a stream that ends without it goes on: resume it",
        },
        "data": {"type": "string", "contentMediaType": "application/json", "description": "one line of JSON"},
    },
    {"id": {"type": "string", "pattern": POSITION_PATTERN, "description": "`<turnId>.<attempt>-<seq>`"}},
    "One server-sent event. Comment lines (`: ping`) come after at most 5 s of silence.",
)
