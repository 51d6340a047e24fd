"""Pure: the JSON of one event of a model's stream."""

import json
from typing import Any

import orjson


class BadChunk(Exception):
    """A chunk does not have the shape that the protocol promises."""


def load_chunk(payload: bytes) -> dict[str, Any] | None:
    """The chunk; None for noise: `ping`, an empty event, JSON that is no object.

    Raises BadChunk on an object that is broken: it may have been a piece of the answer.
    """
    try:
        value = orjson.loads(payload)
    except orjson.JSONDecodeError:
        # orjson refuses halves of surrogate pairs, which servers that cut text by UTF-16 units send.
        value = _load_leniently(payload)
    if isinstance(value, list) and len(value) == 1:
        # Gemini wraps an error in a list.
        value = value[0]
    return value if isinstance(value, dict) else None


def _load_leniently(payload: bytes) -> Any:
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        if payload.lstrip()[:1] in (b"{", b"["):
            raise BadChunk("broken JSON") from None
        return None


def load_body(body: bytes) -> list[dict[str, Any]]:
    """The chunks of a body that is no event stream: one completion, or one JSON object a line. Raises BadChunk."""
    try:
        whole = load_chunk(body)
        return [] if whole is None else [whole]
    except BadChunk:
        lines = [line for line in body.splitlines() if line.strip()]
        if len(lines) < 2:
            raise
        return [chunk for line in lines if (chunk := load_chunk(line)) is not None]
