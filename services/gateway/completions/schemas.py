"""JSON schemas of OpenAI's shapes: completions, chunks, models and their lists."""

from typing import Final

from services.gateway.edge.json_schema import COUNT, MAYBE_TEXT, TEXT, Named, list_of, object_of

_USAGE: Final = object_of(
    {"prompt_tokens": COUNT, "completion_tokens": COUNT, "total_tokens": COUNT}, {"estimated": {"type": "boolean"}}
)
_TOOL_CALL: Final = object_of(
    {"id": TEXT, "type": {"const": "function"}, "function": object_of({"name": TEXT, "arguments": TEXT})}
)
_URL_CITATION: Final = object_of({"start_index": COUNT, "end_index": COUNT, "url": TEXT, "title": TEXT})
_ANNOTATIONS: Final = {
    "type": "array",
    "items": object_of({"type": {"const": "url_citation"}, "url_citation": _URL_CITATION}),
    "description": "the passages that markers such as `[1]` in `content` name; `url` is empty where there is none",
}
_CALLS: Final = {"type": "array", "items": _TOOL_CALL}
_CHOICE: Final = object_of(
    {
        "index": COUNT,
        "message": object_of(
            {"role": {"const": "assistant"}, "content": MAYBE_TEXT},
            {"tool_calls": _CALLS, "annotations": _ANNOTATIONS},
        ),
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
CHAT_COMPLETION: Final = Named("Completion", object_of(_COMPLETION, {"system_fingerprint": TEXT}))
STORED_COMPLETION: Final = Named(
    "StoredCompletion",
    object_of(
        {**_COMPLETION, "metadata": {"type": "object", "additionalProperties": TEXT}}, {"system_fingerprint": TEXT}
    ),
)
_EDGES: Final = {"first_id": MAYBE_TEXT, "last_id": MAYBE_TEXT, "has_more": {"type": "boolean"}}
STORED_COMPLETIONS: Final = Named("StoredCompletions", list_of(STORED_COMPLETION, _EDGES))
DELETED_COMPLETION: Final = Named(
    "DeletedCompletion",
    object_of({"id": TEXT, "object": {"const": "chat.completion.deleted"}, "deleted": {"const": True}}),
)
STORED_MESSAGES: Final = Named(
    "CompletionMessages",
    list_of(object_of({"id": TEXT, "role": TEXT, "content": MAYBE_TEXT}, {"annotations": _ANNOTATIONS}), _EDGES),
)
CANCELLED_COMPLETION: Final = Named(
    "CancelledCompletion", object_of({"id": TEXT, "object": {"const": "chat.completion"}, "status": TEXT})
)
CHUNKS: Final = Named(
    "CompletionEvent",
    object_of(
        {
            "data": {
                "type": "string",
                "description": "a `chat.completion.chunk` with `parley.cursor`, from which a stream resumes;"
                " last `[DONE]`",
            }
        },
        None,
        "One server-sent event. A failure is `{error: …}`, after which the connection is broken off.",
    ),
)
MODEL: Final = Named(
    "Model",
    object_of(
        {"id": TEXT, "object": {"const": "model"}, "created": {"type": "integer"}, "owned_by": {"const": "parley"}}
    ),
)
MODELS: Final = Named("Models", list_of(MODEL, _EDGES))
