"""Values that a schema allows: all that it has, or no more than it needs."""

import re
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from io import BytesIO
from types import UnionType
from typing import Any, BinaryIO, Final, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from shared.contracts.budgets import Subject

_REF: Final = "#/$defs/"
_DEEPEST: Final = 6
# One of them has the form of each pattern in our contracts.
_TEXTS: Final = ("x", "agt_01m80000000000000000000001", "ab" * 32, "#1a56db", "1", "a/b", "https://shop.example")
# Members and models whose form only a validator knows.
_NAMED: Final[dict[str, Any]] = {"url": "https://shop.example", "signingSecret": {"value": f"whsec_{'ab' * 16}"}}
_MODELS: Final[dict[str, Any]] = {"Expectation": {"contains": "x"}}
_FORMATS: Final = {"date-time": "2026-01-01T00:00:00.000Z", "date": "2026-01-01", "binary": "x"}


class Samples:
    """`known`: the models' schemas by their names. `full`: with the members that may be left out."""

    def __init__(self, known: dict[str, Any], *, full: bool) -> None:
        self._known = known
        self._full = full

    def value(self, schema: dict[str, Any], depth: int = 0) -> Any:
        if "$ref" in schema:
            name = schema["$ref"].removeprefix(_REF)
            return _MODELS.get(name) or self.value(self._known[name], depth)
        if alternatives := schema.get("anyOf") or schema.get("oneOf"):
            has_null = any(each.get("type") == "null" for each in alternatives)
            return None if has_null and not self._is_full(depth) else self.value(alternatives[0], depth)
        if "const" in schema or "enum" in schema:
            return schema["const"] if "const" in schema else schema["enum"][0]
        match schema.get("type"):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "string":
                return _text(schema)
            case "integer" | "number":
                return max(1, schema.get("minimum", 1))
            case "boolean":
                return True
        return None if schema.get("type") == "null" else "x"

    def _is_full(self, depth: int) -> bool:
        return self._full and depth <= _DEEPEST

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        members = schema.get("properties", {})
        needed = list(members) if self._is_full(depth) else schema.get("required", [])
        found = {name: _NAMED.get(name) or self.value(members[name], depth + 1) for name in needed}
        rest = schema.get("additionalProperties")
        if isinstance(rest, dict) and self._is_full(depth):
            found[self.value(schema.get("propertyNames", {}))] = self.value(rest, depth + 1)
        return found

    def _array(self, schema: dict[str, Any], depth: int) -> list[Any]:
        if "prefixItems" in schema:
            return [self.value(each, depth + 1) for each in schema["prefixItems"]]
        count = max(schema.get("minItems", 0), 1 if self._is_full(depth) else 0)
        return [self.value(schema["items"], depth + 1)] * count


def _text(schema: dict[str, Any]) -> str:
    if "format" in schema:
        return _FORMATS[schema["format"]]
    least, pattern = schema.get("minLength", 1), schema.get("pattern", "")
    texts = [text * (1 if pattern else least) for text in _TEXTS]
    return next(text for text in texts if len(text) >= least and re.search(pattern, text))


def arguments(call: Callable[..., Any], defaults: dict[str, Any], *, full: bool) -> dict[str, Any]:
    """Of a method with annotations, without those of `defaults` unless `full`."""
    hints = get_type_hints(call)
    hints.pop("return")
    return {name: _argument(kind, full=full) for name, kind in hints.items() if full or name not in defaults}


def _argument(kind: Any, *, full: bool) -> Any:
    inner, origin = get_args(kind), get_origin(kind)
    if origin in (Union, UnionType):
        return _argument(inner[0], full=full)
    if origin is Literal:
        return inner[0]
    if origin is tuple:
        return tuple(_argument(each, full=full) for each in inner)
    if isinstance(origin, type) and issubclass(origin, AsyncIterator):
        return _no_bytes()
    if origin is dict:
        return {}
    if isinstance(origin, type) and issubclass(origin, (Sequence, Iterable)):
        return [_argument(inner[0], full=full)]
    if kind is Subject:
        return Subject("agent", "x")
    if issubclass(kind, BaseModel):
        schema = kind.model_json_schema()
        return kind.model_validate(Samples(schema.get("$defs", {}), full=full).value(schema))
    return {str: "x", int: 1, float: 1.0, bool: True}[kind] if kind is not BinaryIO else BytesIO()


async def _no_bytes() -> AsyncIterator[bytes]:
    pieces: tuple[bytes, ...] = ()
    for piece in pieces:
        yield piece
