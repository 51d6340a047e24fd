"""JSON schemas of responses: the response, its items, its events, and their lists."""

from typing import Final

from services.gateway.edge.json_schema import ANY, COUNT, MAYBE_TEXT, TEXT, list_of, object_of

_STATUS: Final = {"enum": ["queued", "in_progress", "completed", "incomplete", "cancelled", "failed"]}
_KINDS: Final = {"enum": ["message", "function_call", "function_call_output", "file_search_call"]}
ITEM: Final = object_of({"id": TEXT, "type": _KINDS}, None, "an item of OpenAI's shape")
_USAGE: Final = object_of({"input_tokens": COUNT, "output_tokens": COUNT, "total_tokens": COUNT})
RESPONSE: Final = object_of(
    {
        "id": TEXT,
        "object": {"const": "response"},
        "created_at": {"type": "integer"},
        "completed_at": {"type": ["integer", "null"]},
        "status": _STATUS,
        "background": {"type": "boolean"},
        "conversation": {
            "anyOf": [object_of({"id": {**TEXT, "description": "the id of the session"}}), {"type": "null"}]
        },
        "error": {"anyOf": [object_of({"code": TEXT, "message": TEXT}), {"type": "null"}]},
        "incomplete_details": {"anyOf": [object_of({"reason": TEXT}), {"type": "null"}]},
        "instructions": MAYBE_TEXT,
        "metadata": {"type": "object", "additionalProperties": TEXT},
        "model": TEXT,
        "output": {"type": "array", "items": ITEM},
        "previous_response_id": MAYBE_TEXT,
        "store": {"type": "boolean"},
        "tools": {"type": "array", "items": ANY},
        "usage": {"anyOf": [_USAGE, {"type": "null"}]},
    },
    None,
    "a response, with every member that OpenAI's has",
)
RESPONSE_EVENTS: Final = object_of(
    {
        "event": {"type": "string", "description": "`response.created`, … `response.completed`, as in `data.type`"},
        "data": {"type": "string", "description": "an event with its `sequence_number`; last `[DONE]`"},
    },
    None,
    "One server-sent event. An item that ends as `incomplete` and is not in the last event's response is void: another"
    " worker took the turn over.",
)
DELETED_RESPONSE: Final = object_of({"id": TEXT, "object": {"const": "response"}, "deleted": {"const": True}})
INPUT_ITEMS: Final = list_of(ITEM, {"first_id": MAYBE_TEXT, "last_id": MAYBE_TEXT, "has_more": {"type": "boolean"}})
