"""Pure: schemas that the document holds once under a name, and the names of the envelopes around them."""

from typing import Any, Final

from services.gateway.edge.json_schema import Named
from services.gateway.edge.route import Reply

REF: Final = "#/components/schemas/"
_PAGINATION: Final = Named(
    "Pagination",
    {
        "type": "object",
        "properties": {"nextCursor": {"type": ["string", "null"], "description": "`cursor` of the next page"}},
        "required": ["nextCursor"],
    },
)


def reference(name: str) -> dict[str, Any]:
    return {"$ref": REF + name}


def shape_of(reply: Reply) -> Any:
    """The schema of a reply's body; an envelope around a schema with a name has a name too."""
    content = reply.schema or {}
    name = content.__name__ if isinstance(content, type) else getattr(content, "name", None)
    shape = reference(content.__name__) if isinstance(content, type) else content
    if not reply.envelope:
        return shape
    properties: dict[str, Any] = {
        "success": {"const": True},
        "data": {"type": "array", "items": shape} if reply.paged else shape,
    }
    if reply.paged:
        properties["pagination"] = _PAGINATION
    properties |= reply.beside
    envelope = {"type": "object", "properties": properties, "required": list(properties)}
    return Named(f"{name}{'Page' if reply.paged else 'Reply'}", envelope) if name else envelope


def hoisted(value: Any, into: dict[str, Any]) -> Any:
    """`value` with references in place of named schemas, which are put into `into`."""
    if isinstance(value, Named):
        if value.name not in into:
            into[value.name] = None  # Its place, in case that it contains itself.
            into[value.name] = _inside(value, into)
        return reference(value.name)
    return _inside(value, into)


def _inside(value: Any, into: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {name: hoisted(member, into) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [hoisted(member, into) for member in value]
    return value
