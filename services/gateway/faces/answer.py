"""Pure: what a turn has answered, out of the messages of its `done` frame."""

from collections.abc import Sequence
from typing import Any


def answer_text(messages: Sequence[dict[str, Any]]) -> str:
    """What was streamed: the text of all of the turn's model calls."""
    return "".join(message.get("content") or "" for message in messages if message["role"] == "assistant")


def citations_of(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """`{marker, start, end, passage}` of what was streamed. The places are in `answer_text`, in characters."""
    found, before = list[dict[str, Any]](), 0
    for message in messages:
        if message["role"] != "assistant":
            continue
        for citation in message.get("citations") or ():
            found.append({**citation, "start": before + citation["start"], "end": before + citation["end"]})
        before += len(message.get("content") or "")
    return found
