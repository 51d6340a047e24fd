"""JSON schemas of answers that are no contract of ours: OpenAI's shapes, views of a turn, the streams."""

from typing import Any, Final

from shared.contracts.frame_types import FRAME_TYPES

Schema = dict[str, Any]


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None, description: str | None = None) -> Schema:
    schema: Schema = {"type": "object", "properties": {**required, **(optional or {})}, "required": list(required)}
    return schema | {"description": description} if description else schema


def _list(items: Schema, required: dict[str, Any] | None = None) -> Schema:
    return _object({"object": {"const": "list"}, "data": {"type": "array", "items": items}, **(required or {})})


_TEXT: Final = {"type": "string"}
_COUNT: Final = {"type": "integer", "minimum": 0}
_MAYBE_TEXT: Final = {"type": ["string", "null"]}
_ANY: Final = {"type": "object"}

PROBLEM: Final = _object(
    {
        "type": {"type": "string", "description": "`/errors/<code>`"},
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT,
        "code": _TEXT,
        "retryable": {"type": "boolean"},
        "instance": {"type": "string", "description": "the request's id"},
        "error": _object(
            {"message": _TEXT, "type": _TEXT, "param": _MAYBE_TEXT, "code": _MAYBE_TEXT},
            None,
            "what OpenAI's SDKs read",
        ),
    },
    {
        "errors": {"type": "array", "items": _object({"field": _TEXT, "message": _TEXT})},
        "activeTurnId": _TEXT,
        "turnId": _TEXT,
        "requiredScope": _TEXT,
    },
    "RFC 9457 problem document",
)

MESSAGE: Final = _object(
    {
        "id": _TEXT,
        "turnId": _TEXT,
        "role": {"enum": ["user", "assistant", "tool"]},
        "createdAt": {"type": "string", "format": "date-time"},
    },
    {
        "sessionId": _TEXT,
        "content": _TEXT,
        "toolCalls": {"type": "array", "items": _object({"id": _TEXT, "name": _TEXT, "arguments": _TEXT})},
        "toolCallId": _TEXT,
        "knowledge": {"type": "array", "items": _ANY},
        "status": {"enum": ["complete", "partial"]},
        "empty": {"const": True, "description": "the model answered nothing; no later prompt contains the message"},
    },
)
TURN_RESULT: Final = _object(
    {
        "turnId": _TEXT,
        "status": {"enum": ["completed", "cancelled"]},
        "finishReason": _MAYBE_TEXT,
        "messages": {"type": "array", "items": MESSAGE},
        "usage": {"anyOf": [{"$ref": "#/components/schemas/Usage"}, {"type": "null"}]},
    }
)
TURN_ACCEPTED: Final = _object(
    {"turnId": _TEXT, "sessionId": _TEXT, "status": {"enum": ["queued", "running", "completed", "cancelled", "failed"]}}
)
DELETED: Final = _object({"id": _TEXT, "deleted": {"const": True}})
EVENTS: Final = _object(
    {
        "event": {
            "enum": list(FRAME_TYPES),
            "description": "the last one is `done` or `error`; a stream that ends without either is not an answer: resume it",
        },
        "data": {"type": "string", "contentMediaType": "application/json", "description": "one line of JSON"},
    },
    {"id": {"type": "string", "pattern": "^[1-9][0-9]*-[1-9][0-9]*$", "description": "`<attempt>-<seq>`, only grows"}},
    "One server-sent event. Comment lines (`: ping`) come after at most 5 s of silence.",
)

_USAGE: Final = _object(
    {"prompt_tokens": _COUNT, "completion_tokens": _COUNT, "total_tokens": _COUNT}, {"estimated": {"type": "boolean"}}
)
_TOOL_CALL: Final = _object(
    {"id": _TEXT, "type": {"const": "function"}, "function": _object({"name": _TEXT, "arguments": _TEXT})}
)
_CALLS: Final = {"type": "array", "items": _TOOL_CALL}
_CHOICE: Final = _object(
    {
        "index": _COUNT,
        "message": _object({"role": {"const": "assistant"}, "content": _MAYBE_TEXT}, {"tool_calls": _CALLS}),
        "finish_reason": {"enum": ["stop", "length", "tool_calls", "content_filter"]},
    }
)
_COMPLETION: Final = {
    "id": _TEXT,
    "object": {"const": "chat.completion"},
    "created": {"type": "integer"},
    "model": _TEXT,
    "choices": {"type": "array", "items": _CHOICE},
    "usage": _USAGE,
}
CHAT_COMPLETION: Final = _object(_COMPLETION, {"system_fingerprint": _TEXT})
STORED_COMPLETION: Final = _object(
    {**_COMPLETION, "metadata": {"type": "object", "additionalProperties": _TEXT}}, {"system_fingerprint": _TEXT}
)
_EDGES: Final = {"first_id": _MAYBE_TEXT, "last_id": _MAYBE_TEXT, "has_more": {"type": "boolean"}}
STORED_COMPLETIONS: Final = _list(STORED_COMPLETION, _EDGES)
DELETED_COMPLETION: Final = _object(
    {"id": _TEXT, "object": {"const": "chat.completion.deleted"}, "deleted": {"const": True}}
)
STORED_MESSAGES: Final = _list(_object({"id": _TEXT, "role": _TEXT, "content": _MAYBE_TEXT}), _EDGES)
CANCELLED_COMPLETION: Final = _object({"id": _TEXT, "object": {"const": "chat.completion"}, "status": _TEXT})
CHUNKS: Final = _object(
    {
        "data": {
            "type": "string",
            "description": "a `chat.completion.chunk` with `parley.cursor`, from which a stream resumes; last `[DONE]`",
        }
    },
    None,
    "One server-sent event. A failure is `{error: …}`, after which the connection is broken off.",
)
MODEL: Final = _object(
    {"id": _TEXT, "object": {"const": "model"}, "created": {"type": "integer"}, "owned_by": {"const": "parley"}}
)
MODELS: Final = _list(MODEL)
