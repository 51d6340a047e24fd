"""JSON schemas of the OpenAPI document: the building blocks, and the problem document."""

from typing import Any, Final

Schema = dict[str, Any]


def object_of(
    required: dict[str, Any], optional: dict[str, Any] | None = None, description: str | None = None
) -> Schema:
    schema: Schema = {"type": "object", "properties": {**required, **(optional or {})}, "required": list(required)}
    return schema | {"description": description} if description else schema


def list_of(items: Schema, required: dict[str, Any] | None = None) -> Schema:
    return object_of({"object": {"const": "list"}, "data": {"type": "array", "items": items}, **(required or {})})


TEXT: Final = {"type": "string"}
COUNT: Final = {"type": "integer", "minimum": 0}
MAYBE_TEXT: Final = {"type": ["string", "null"]}
ANY: Final = {"type": "object"}

PROBLEM: Final = object_of(
    {
        "type": {"type": "string", "description": "`/errors/<code>`"},
        "title": TEXT,
        "status": {"type": "integer"},
        "detail": TEXT,
        "code": TEXT,
        "retryable": {"type": "boolean"},
        "instance": {"type": "string", "description": "the request's id"},
        "error": object_of(
            {"message": TEXT, "type": TEXT, "param": MAYBE_TEXT, "code": MAYBE_TEXT},
            None,
            "what OpenAI's SDKs read",
        ),
    },
    {
        "errors": {"type": "array", "items": object_of({"field": TEXT, "message": TEXT})},
        "activeTurnId": TEXT,
        "turnId": TEXT,
        "requiredScope": TEXT,
    },
    "RFC 9457 problem document",
)
