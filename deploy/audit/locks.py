"""Pure: the lock files as one list of requirements."""

import re
from collections.abc import Iterable
from typing import Final

_PINNED: Final = re.compile(r"(?m)^([A-Za-z0-9._-]+)==([^\s\\;]+)")


class DifferentPins(ValueError):
    """Two lock files name different versions of one package."""


def merged(locks: Iterable[str]) -> str:
    """Each package once, with the hashes of its first lock file, in the order of the names. Raises DifferentPins."""
    entries: dict[str, tuple[str, str]] = {}
    for lock in locks:
        starts = [found.start() for found in _PINNED.finditer(lock)]
        for start, end in zip(starts, [*starts[1:], len(lock)], strict=True):
            found = _PINNED.match(lock, start)
            assert found is not None
            name, version = found[1], found[2]
            lines = (line for line in lock[start:end].rstrip().splitlines() if not line.lstrip().startswith("#"))
            entry = "\n".join(lines).rstrip()
            if entries.setdefault(name, (version, entry))[0] != version:
                raise DifferentPins(f"{name} has two versions: {entries[name][0]} and {version}")
    return "".join(f"{entry}\n" for _, (_, entry) in sorted(entries.items()))
