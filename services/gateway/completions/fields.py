"""Members of a chat completion's body that have more than one shape: what each may be, and what it becomes. Pure."""

from typing import Annotated, Any, Final

from pydantic import PlainValidator, StringConstraints, WithJsonSchema

_TEXT_PARTS: Final = {"text": "text", "refusal": "refusal"}


def _content(value: Any) -> str | None:
    """A string, or a list of text parts, as one string."""
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, list) or not value:
        raise ValueError("must be a string or a list of text parts")
    return "\n".join(_part(part) for part in value)


def _part(part: Any) -> str:
    member = _TEXT_PARTS.get(str(part.get("type"))) if isinstance(part, dict) else None
    text = part.get(member) if member else None
    if not isinstance(text, str):
        raise ValueError("only text parts are supported")
    return text


def _stop(value: Any) -> str | list[str] | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list) and len(value) <= 4 and all(isinstance(item, str) for item in value):
        return value
    raise ValueError("must be a string or up to 4 strings")


def _response_format(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    kind = value.get("type") if isinstance(value, dict) else None
    if kind in ("text", "json_object"):
        return dict(value)
    schema = value.get("json_schema") if kind == "json_schema" else None
    if not (
        isinstance(schema, dict) and isinstance(schema.get("name"), str) and isinstance(schema.get("schema", {}), dict)
    ):
        raise ValueError("must be of the type text, json_object or json_schema (with json_schema.name)")
    return dict(value)


def _tool_choice(value: Any) -> str | dict[str, Any] | None:
    if value is None or value in ("none", "auto", "required"):
        return None if value is None else str(value)
    function = value.get("function") if isinstance(value, dict) and value.get("type") == "function" else None
    if not (isinstance(function, dict) and isinstance(function.get("name"), str)):
        raise ValueError("must be none, auto, required or name a function")
    return {"type": "function", "function": {"name": function["name"]}}


_TEXT_PART_SCHEMA: Final = {
    "type": "object",
    "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
    "required": ["type", "text"],
}
Content = Annotated[
    str | None,
    PlainValidator(_content),
    WithJsonSchema(
        {"anyOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": _TEXT_PART_SCHEMA}, {"type": "null"}]}
    ),
]
Stop = Annotated[
    str | list[str] | None,
    PlainValidator(_stop),
    WithJsonSchema(
        {"anyOf": [{"type": "string"}, {"type": "array", "maxItems": 4, "items": {"type": "string"}}, {"type": "null"}]}
    ),
]
ResponseFormat = Annotated[
    dict[str, Any] | None,
    PlainValidator(_response_format),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "object", "properties": {"type": {"enum": ["text", "json_object"]}}, "required": ["type"]},
                {
                    "type": "object",
                    "properties": {
                        "type": {"const": "json_schema"},
                        "json_schema": {
                            "type": "object",
                            "properties": {"name": {"type": "string"}, "schema": {"type": "object"}},
                            "required": ["name"],
                        },
                    },
                    "required": ["type", "json_schema"],
                },
                {"type": "null"},
            ]
        }
    ),
]
ToolChoice = Annotated[
    str | dict[str, Any] | None,
    PlainValidator(_tool_choice),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": ["none", "auto", "required"]},
                {
                    "type": "object",
                    "properties": {
                        "type": {"const": "function"},
                        "function": {
                            "type": "object",
                            "properties": {"name": {"type": "string"}},
                            "required": ["name"],
                        },
                    },
                    "required": ["type", "function"],
                },
                {"type": "null"},
            ],
            "description": "A named function must be one of `tools`.",
        }
    ),
]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
# Some models carry a signature of their reasoning in the id of a call, about 1,000 characters long.
MAX_CALL_ID: Final = 4096
CallId = Annotated[str, StringConstraints(min_length=1, max_length=MAX_CALL_ID)]
