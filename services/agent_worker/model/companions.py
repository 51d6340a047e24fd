"""Pure: the opaque members of a model's message, collected over the chunks of its stream."""

from typing import Any, Final

from shared.contracts.companions import MESSAGE_MEMBERS, PARTS

# Text that a stream cuts, inside the items of a list.
_GROWING: Final = ("text", "summary", "thinking")


class CompanionCollector:
    """Strings are joined over the chunks, lists are continued, other values are replaced."""

    __slots__ = ("members",)

    def __init__(self) -> None:
        self.members: dict[str, Any] = {}

    def add(self, delta: dict[str, Any]) -> None:
        for name in MESSAGE_MEMBERS:
            if value := delta.get(name):
                self._add(name, value)
        content = delta.get("content")
        if isinstance(content, list):
            parts = [
                part for part in content if isinstance(part, dict) and part.get("type") not in ("text", "output_text")
            ]
            if parts:
                self._add(PARTS, parts)

    def _add(self, name: str, value: Any) -> None:
        known = self.members.get(name)
        if isinstance(known, str) and isinstance(value, str):
            self.members[name] = known + value
        elif isinstance(known, list) and isinstance(value, list):
            for item in value:
                _extend(known, item)
        else:
            self.members[name] = [*value] if isinstance(value, list) else value


def _extend(items: list[Any], item: Any) -> None:
    """Adds an item; one that continues the last, as a stream cuts it, is joined to it."""
    last = items[-1] if items else None
    if not (isinstance(last, dict) and isinstance(item, dict) and _continues(last, item)):
        items.append(item)
        return
    joined = dict(last)
    for name, value in item.items():
        before = joined.get(name)
        if name in _GROWING and isinstance(before, str) and isinstance(value, str):
            joined[name] = before + value
        elif name in _GROWING and isinstance(before, list) and isinstance(value, list):
            inner = [*before]
            for part in value:
                _extend(inner, part)
            joined[name] = inner
        elif value is not None and value != "":
            joined[name] = value
    items[-1] = joined


def _continues(last: dict[str, Any], item: dict[str, Any]) -> bool:
    same = last.get("type") == item.get("type") and last.get("index") == item.get("index")
    if last.get("closed") or (last.get("signature") and item.get("index") is None):
        return False
    return same and any(name in last and name in item for name in _GROWING)
