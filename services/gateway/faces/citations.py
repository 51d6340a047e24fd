"""Pure: the passages that an answer names."""

from collections.abc import Iterable
from typing import Any


def cited_passages(messages: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each once, in the order in which they are first named. `messages` as the API shows them."""
    found: dict[str, dict[str, Any]] = {}
    for message in messages:
        for citation in message.get("citations") or ():
            passage = citation["passage"]
            found.setdefault(passage.get("id") or f"{passage['sourceId']}-{citation['marker']}", passage)
    return [{**passage, "id": name} for name, passage in found.items()]
