"""JSON schemas of OpenAI's shapes: completions, chunks, models and their lists."""

from typing import Final

from services.gateway.edge.json_schema import COUNT, MAYBE_TEXT, TEXT, list_of, object_of

_USAGE: Final = object_of(
    {"prompt_tokens": COUNT, "completion_tokens": COUNT, "total_tokens": COUNT}, {"estimated": {"type": "boolean"}}
)
_TOOL_CALL: Final = object_of(
    {"id": TEXT, "type": {"const": "function"}, "function": object_of({"name": TEXT, "arguments": TEXT})}
)
_CALLS: Final = {"type": "array", "items": _TOOL_CALL}
_CHOICE: Final = object_of(
    {
        "index": COUNT,
        "message": object_of({"role": {"const": "assistant"}, "content": MAYBE_TEXT}, {"tool_calls": _CALLS}),
        "finish_reason": {"enum": ["stop", "length", "tool_calls", "content_filter"]},
    }
)
_COMPLETION: Final = {
    "id": TEXT,
    "object": {"const": "chat.completion"},
    "created": {"type": "integer"},
    "model": TEXT,
    "choices": {"type": "array", "items": _CHOICE},
    "usage": _USAGE,
}
CHAT_COMPLETION: Final = object_of(_COMPLETION, {"system_fingerprint": TEXT})
STORED_COMPLETION: Final = object_of(
    {**_COMPLETION, "metadata": {"type": "object", "additionalProperties": TEXT}}, {"system_fingerprint": TEXT}
)
_EDGES: Final = {"first_id": MAYBE_TEXT, "last_id": MAYBE_TEXT, "has_more": {"type": "boolean"}}
STORED_COMPLETIONS: Final = list_of(STORED_COMPLETION, _EDGES)
DELETED_COMPLETION: Final = object_of(
    {"id": TEXT, "object": {"const": "chat.completion.deleted"}, "deleted": {"const": True}}
)
STORED_MESSAGES: Final = list_of(object_of({"id": TEXT, "role": TEXT, "content": MAYBE_TEXT}), _EDGES)
CANCELLED_COMPLETION: Final = object_of({"id": TEXT, "object": {"const": "chat.completion"}, "status": TEXT})
CHUNKS: Final = object_of(
    {
        "data": {
            "type": "string",
            "description": "a `chat.completion.chunk` with `parley.cursor`, from which a stream resumes; last `[DONE]`",
        }
    },
    None,
    "One server-sent event. A failure is `{error: …}`, after which the connection is broken off.",
)
MODEL: Final = object_of(
    {"id": TEXT, "object": {"const": "model"}, "created": {"type": "integer"}, "owned_by": {"const": "parley"}}
)
MODELS: Final = list_of(MODEL)
