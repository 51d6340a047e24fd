"""What changes from one draft to another: for people, and as the JSON merge patch (RFC 7396) that makes it. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import orjson


class Difference(NamedTuple):
    """A member that is absent on one side is None there."""

    field: str
    before: Any
    after: Any


def differences(before: Any, after: Any, field: str = "") -> list[Difference]:
    """Objects member by member, lists of named objects (tools) by their names, everything else as a whole."""
    if before == after:
        return []
    one, other = _members(before), _members(after)
    if one is None or other is None:
        return [Difference(field, before, after)]
    found: list[Difference] = []
    for name in (*one, *(name for name in other if name not in one)):
        found += differences(one.get(name), other.get(name), f"{field}.{name}" if field else name)
    # Equal members in another order: the order is the difference.
    return found or [Difference(field, list(one), list(other))]


def _members(value: Any) -> Mapping[str, Any] | None:
    if isinstance(value, dict):
        return value
    if isinstance(value, list) and value and all(isinstance(entry, dict) and "name" in entry for entry in value):
        named = {str(entry["name"]): entry for entry in value}
        return named if len(named) == len(value) else None
    return None


def merge_patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The patch that turns `before` into `after`. Lists are replaced whole."""
    patch: dict[str, Any] = {name: None for name in before if name not in after}
    for name, value in after.items():
        old = before.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            inner = merge_patch(old, value)
            if inner:
                patch[name] = inner
        elif name not in before or old != value:
            patch[name] = value
    return patch


def lines_of(difference: Difference) -> Iterator[str]:
    """`~ model.name`, then the old and the new text line by line."""
    sign = "+" if difference.before is None else "-" if difference.after is None else "~"
    if sign == "~" and not _is_long(difference.before) and not _is_long(difference.after):
        yield f"~ {difference.field}: {_text(difference.before)} → {_text(difference.after)}"
        return
    if sign != "~":
        value = difference.after if sign == "+" else difference.before
        if not _is_long(value):
            yield f"{sign} {difference.field}: {_text(value)}"
            return
    yield f"{sign} {difference.field}:"
    yield from _changed_lines(_text(difference.before), _text(difference.after))


def _changed_lines(before: str, after: str) -> Iterator[str]:
    from difflib import ndiff

    for line in ndiff(before.splitlines(), after.splitlines()):
        if not line.startswith("?"):
            yield f"    {line}"


def _is_long(value: Any) -> bool:
    text = _text(value)
    return "\n" in text or len(text) > 60


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    compact = orjson.dumps(value).decode()
    return compact if len(compact) <= 60 else orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
