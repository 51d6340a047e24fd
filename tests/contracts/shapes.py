"""What recorded JSON values have in common, and what a reader who knew only those would miss in another one."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

# A member may be null although no recorded value shows it.
_NULL: Final = "NoneType"


class Shape:
    """Of all values that were added: their types, the members of objects, the items of lists."""

    def __init__(self) -> None:
        self._kinds = {_NULL}
        self._members: dict[str, Shape] = {}
        self._seen = Counter[str]()
        self._objects = 0
        self._items: Shape | None = None

    def add(self, value: Any) -> None:
        self._kinds.add(type(value).__name__)
        if isinstance(value, dict):
            self._objects += 1
            self._seen.update(list(value))
            for name, each in value.items():
                self._members.setdefault(name, Shape()).add(each)
        if isinstance(value, list):
            self._items = self._items or Shape()
            for each in value:
                self._items.add(each)

    def faults(self, value: Any, place: str) -> Iterator[str]:
        """Members that all recorded objects had and this one lacks, and types that none had. New members are none."""
        kind = type(value).__name__
        if kind not in self._kinds and not (kind == "int" and "float" in self._kinds):
            yield f"{place} is of type {kind}, and was of type {' or '.join(sorted(self._kinds - {_NULL}))}"
        elif isinstance(value, dict):
            yield from (f"{place} lacks {name}" for name in self._needed() if name not in value)
            for name, each in value.items():
                if name in self._members:
                    yield from self._members[name].faults(each, f"{place}.{name}")
        elif isinstance(value, list) and self._items is not None:
            for each in value:
                yield from self._items.faults(each, f"{place}[]")

    def _needed(self) -> list[str]:
        return [name for name, count in self._seen.items() if count == self._objects]
