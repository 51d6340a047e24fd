"""Which commands one shard of a sharded MongoDB would get."""

from collections.abc import Mapping
from typing import Any

from deploy.reference.mongodb import SHARD_KEYS


def is_targeted(name: str, command: Mapping[str, Any]) -> bool:
    """Whether one shard gets the command, with the keys of the reference."""
    key = SHARD_KEYS[command[name]].key
    if name == "insert":
        return key is None or all(key in document for document in command["documents"])
    queries = [command["filter"]] if name == "find" else [each["q"] for each in command[f"{name}s"]]
    return key is None or all("$eq" in query.get(key, ()) for query in queries)
