"""Members of a request that have more than one shape, and what each becomes. Pure."""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, StringConstraints, WithJsonSchema

MAX_ITEMS: Final = 2000


class Lenient(BaseModel):
    """Like OpenAI's own API: unknown members are ignored, wrong types are refused."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class FunctionTool(Lenient):
    """A function that the caller runs."""

    type: Literal["function"]
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    def function(self) -> dict[str, Any]:
        """As chat completions write it."""
        return self.model_dump(exclude_none=True, exclude={"type"})


class Reasoning(Lenient):
    effort: Annotated[str, StringConstraints(max_length=64)] | None = None


class TextConfig(Lenient):
    format: Any = Field(default=None, description="of the type text, json_object or json_schema (with name and schema)")
    verbosity: Annotated[str, StringConstraints(max_length=64)] | None = None


def response_format(value: Any) -> dict[str, Any] | None:
    """`text.format` as a chat completion's `response_format`; None for plain text. Raises ValueError."""
    kind = value.get("type") if isinstance(value, dict) else None
    if value is None or kind == "text":
        return None
    if kind == "json_object":
        return {"type": "json_object"}
    if kind != "json_schema" or not isinstance(value.get("name"), str) or not isinstance(value.get("schema"), dict):
        raise ValueError("must be of the type text, json_object or json_schema (with name and schema)")
    members = {name: value[name] for name in ("name", "description", "schema", "strict") if value.get(name) is not None}
    return {"type": "json_schema", "json_schema": members}


def _input(value: Any) -> str | list[dict[str, Any]]:
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not 0 < len(value) <= MAX_ITEMS:
        raise ValueError(f"must be a string or a list of 1 to {MAX_ITEMS} items")
    if not all(isinstance(item, dict) for item in value):
        raise ValueError("must have objects as its items")
    return value


def _conversation(value: Any) -> str | None:
    found = value.get("id") if isinstance(value, dict) else value
    if value is not None and not isinstance(found, str):
        raise ValueError("must be the id of a conversation, or an object with that id")
    return found


def _tool_choice(value: Any) -> dict[str, Any] | str | None:
    if value is None or value in ("none", "auto", "required"):
        return None if value is None else str(value)
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "function" and isinstance(value.get("name"), str):
        return {"type": "function", "name": value["name"]}
    if kind == "allowed_tools" and value.get("mode") in ("auto", "required") and isinstance(value.get("tools"), list):
        names = [tool.get("name") for tool in value["tools"] if isinstance(tool, dict)]
        if len(names) == len(value["tools"]) and all(isinstance(name, str) for name in names):
            tools = [{"type": "function", "name": name} for name in names]
            return {"type": "allowed_tools", "mode": value["mode"], "tools": tools}
    raise ValueError("must be none, auto, required, name a function, or be a list of allowed functions")


_NAMED: Final = {"type": "string"}
_KINDS: Final = ["message", "function_call", "function_call_output", "item_reference"]
Input = Annotated[
    str | list[dict[str, Any]],
    PlainValidator(_input),
    WithJsonSchema(
        {
            "anyOf": [
                _NAMED,
                {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": MAX_ITEMS,
                    "items": {"type": "object", "properties": {"type": {"enum": _KINDS}}},
                },
            ],
            "description": "text, or items; texts only. Items of the types reasoning and file_search_call say nothing.",
        }
    ),
]
Conversation = Annotated[
    str | None,
    PlainValidator(_conversation),
    WithJsonSchema(
        {
            "anyOf": [
                _NAMED,
                {"type": "object", "properties": {"id": _NAMED}, "required": ["id"]},
                {"type": "null"},
            ],
            "description": "the id of a session: the response becomes its next turn",
        }
    ),
]
ToolChoice = Annotated[
    dict[str, Any] | str | None,
    PlainValidator(_tool_choice),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": ["none", "auto", "required"]},
                {
                    "type": "object",
                    "properties": {"type": {"const": "function"}, "name": _NAMED},
                    "required": ["type", "name"],
                },
                {"type": "null"},
            ],
            "description": "A named function must be one of `tools`. `allowed_tools` is accepted too.",
        }
    ),
]
