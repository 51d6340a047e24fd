"""JSON schemas of the OpenAPI document: the building blocks, and the problem document."""

from typing import Any, Final

Schema = dict[str, Any]


class Named(Schema):
    """A schema with a name of its own: the document holds it once, among its components, and refers to it."""

    def __init__(self, name: str, schema: Schema, example: Any = None) -> None:
        super().__init__(schema if example is None else {**schema, "examples": [example]})
        self.name = name


def one_of(name: str, by: str, variants: dict[str, Named], description: str) -> Named:
    """One of several objects, told apart by the value of their member `by`: the keys of `variants`."""
    mapping = {value: f"#/components/schemas/{variant.name}" for value, variant in variants.items()}
    union = {"oneOf": list(variants.values()), "discriminator": {"propertyName": by, "mapping": mapping}}
    return Named(name, {**union, "description": description})


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

PROBLEM: Final = Named(
    "Problem",
    object_of(
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
            "traceId": {"type": "string", "description": "the request's trace, where the operator has traces on"},
            "activeTurnId": TEXT,
            "turnId": TEXT,
            "requiredScope": TEXT,
        },
        "RFC 9457 problem document",
    ),
    {
        "type": "/errors/session_not_found",
        "title": "No such session",
        "status": 404,
        "detail": "No such session",
        "code": "session_not_found",
        "retryable": False,
        "instance": "req_01kb3c9w6n8r2t4v6x8z0b2d4f",
        "error": {
            "message": "No such session",
            "type": "invalid_request_error",
            "param": None,
            "code": "session_not_found",
        },
    },
)
