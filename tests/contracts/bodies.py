"""How the bodies of a call of history are written down: as schemas whose references name models by their modules.

`{"$ref": "#/$defs/turns:Turn"}` is `Turn` of `shared.contracts.turns`; a name with dots is a module of its own.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from tests.contracts.reading import REF

Body = dict[str, Any]

BOOLEAN: Final[Body] = {"type": "boolean"}
INTEGER: Final[Body] = {"type": "integer"}
STRING: Final[Body] = {"type": "string"}
NULL: Final[Body] = {"type": "null"}


def one(model: str) -> Body:
    return {"$ref": REF + model}


def either(*models: str) -> Body:
    """The first of the models that takes a value is its own."""
    return {"anyOf": [one(model) for model in models]}


def optional(body: Body) -> Body:
    """Or null."""
    return {"anyOf": [body, NULL]}


def listed(body: Body) -> Body:
    return {"type": "array", "items": body}


def members(**each: Body) -> Body:
    """An object that has all of them."""
    return {"type": "object", "properties": each, "required": list(each)}


def page(body: Body, **beside: Body) -> Body:
    """`beside`: further members. All are written, those without a value as null."""
    return members(items=listed(body), nextCursor=optional(STRING), **beside) | {"nulls": "written"}


def models_in(body: Body | None) -> Iterator[str]:
    """The models that it refers to, as they are written here."""
    if body is None:
        return
    if "$ref" in body:
        yield body["$ref"].removeprefix(REF)
    inner = [*body.get("anyOf", ()), *body.get("properties", {}).values()]
    for each in [*inner, body["items"]] if "items" in body else inner:
        yield from models_in(each)


def by_class(body: Body) -> Body:
    """With the names that the recorded schemas have: those of the classes."""
    found = dict[str, Any]()
    for name, each in body.items():
        match name, each:
            case "$ref", str(ref):
                found[name] = re.sub(r"[^/]*:", "", ref)
            case "properties", dict(inner):
                found[name] = {member: by_class(schema) for member, schema in inner.items()}
            case "anyOf", list(inner):
                found[name] = [by_class(schema) for schema in inner]
            case "items", dict(inner):
                found[name] = by_class(inner)
            case _:
                found[name] = each
    return found
