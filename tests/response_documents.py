"""Checks responses and their events by two published sets of models: openai-python's and the Open Responses document's.

The document knows fewer kinds of items: what has a search or cites a file is checked by openai-python's models only.
"""

from typing import Any, get_args

import openresponses_types.types as published
import orjson
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel

_BEYOND = (b'"file_search_call"', b'"file_citation"', b'"response.file_search_call.', b'"type":"error"')


def _models() -> dict[str, list[type[BaseModel]]]:
    """The models of each event, by its type."""
    found: dict[str, list[type[BaseModel]]] = {}
    for kind in get_args(get_args(ResponseStreamEvent)[0]):
        found.setdefault(get_args(kind.model_fields["type"].annotation)[0], []).append(kind)
    for kind in vars(published).values():
        if isinstance(kind, type) and issubclass(kind, BaseModel) and kind.__name__.endswith("StreamingEvent"):
            names: Any = kind.model_fields["type"].annotation
            for name in names:
                found.setdefault(str(name), []).append(kind)
    return found


_MODELS = _models()


def checked_response(text: bytes) -> Response:
    """A response as openai-python reads it. Its JSON must also be what the document allows."""
    if not any(mark in text for mark in _BEYOND):
        published.ResponseResource.model_validate_json(text)
    return Response.model_validate_json(text, strict=True)


def checked_event(block: str) -> dict[str, Any]:
    """The data of one event. `block` is its text without the empty line behind it."""
    name, _, text = block.partition("\ndata: ")
    assert "\n" not in text
    event: dict[str, Any] = orjson.loads(text)
    assert name == f"event: {event['type']}"
    for kind in _MODELS[event["type"]]:
        if kind.__module__.startswith("openai"):
            kind.model_validate_json(text, strict=True)
        elif not any(mark in text.encode() for mark in _BEYOND):
            kind.model_validate_json(text)
    return event


def checked_events(data: bytes, *, is_whole: bool = True) -> list[dict[str, Any]]:
    """The events of a stream, whose numbers rise. A whole stream ends with `[DONE]`. Comments are left out."""
    blocks = [block for block in data.decode().split("\n\n") if block and not block.startswith(":")]
    if is_whole:
        assert blocks.pop() == "data: [DONE]"
    events = [checked_event(block) for block in blocks]
    numbers = [event["sequence_number"] for event in events]
    assert numbers == sorted(set(numbers))
    return events
