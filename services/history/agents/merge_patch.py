"""JSON merge patch (RFC 7396) on a draft, and the difference between two configurations. Pure."""

from typing import Any

from shared.contracts.agent_records import Change


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396: members of the patch replace those of the target, null removes one, anything but an object replaces
    whole.
    """
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def changes(before: Any, after: Any, field: str = "") -> list[Change]:
    """What differs, in the order of the fields.

    Objects are compared member by member, lists of named objects by their names (`tools.order_status.timeoutS`), other
    lists as a whole.
    """
    if before == after:
        return []
    one, other = _members(before), _members(after)
    if one is None or other is None:
        return [Change(field=field, before=before, after=after)]
    found: list[Change] = []
    for name in sorted(one.keys() | other.keys()):
        found += changes(one.get(name), other.get(name), f"{field}.{name}" if field else name)
    # The same members in another order: the order is the difference.
    return found or [Change(field=field, before=before, after=after)]


def _members(value: Any) -> dict[str, Any] | None:
    """An object's members; those of a list whose entries have names of their own; None for what is compared whole."""
    if isinstance(value, dict):
        return value
    if isinstance(value, list) and all(
        isinstance(entry, dict) and isinstance(entry.get("name"), str) for entry in value
    ):
        named = {entry["name"]: entry for entry in value}
        return named if len(named) == len(value) else None
    return None
