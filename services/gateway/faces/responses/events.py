"""Pure: the bytes of a response's events, each with its sequence number.

Events that a client has already are counted, not sent. The events of a turn are the same each time that its log is
read, so a number names one of them for ever.
"""

from typing import Any, Final

import orjson

from services.gateway.faces.responses.output import Item, opened_message, text_part
from shared.contracts.frames import json_line

# Beyond every number.
_NEVER: Final = 1 << 62
_BEFORE_NUMBER: Final = (
    b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","item_id":%b,"output_index":%d,'
    b'"content_index":0,"logprobs":[],"sequence_number":'
)


class EventWriter:
    """`after`: the number of the last event that the client has; -1 for none.

    `number` is the next event's. Events up to `silent_to` are counted and not sent.
    """

    def __init__(self, after: int = -1) -> None:
        self.number = 0
        self.silent_to = after
        self._after = after

    @property
    def is_behind(self) -> bool:
        """Whether the client has everything so far."""
        return self.number <= self._after

    def mute(self) -> None:
        """From now on only the last event is sent."""
        self.silent_to = _NEVER

    def event(self, kind: str, members: dict[str, Any]) -> bytes:
        """Empty for an event that is not sent."""
        number = self.number
        self.number += 1
        return self._bytes(kind, number, members) if number > self.silent_to else b""

    def last(self, kind: str, members: dict[str, Any]) -> bytes:
        """The event that ends the stream. It is sent in any case."""
        return self._bytes(kind, max(self.number, self._after + 1), members)

    def _bytes(self, kind: str, number: int, members: dict[str, Any]) -> bytes:
        head = b'event: %b\ndata: {"type":"%b","sequence_number":%d,' % (kind.encode(), kind.encode(), number)
        return head + json_line(members)[1:] + b"\n\n"


class OpenMessage:
    """A message item that is being written. `index`: its place in the stream, among the items of all attempts."""

    def __init__(self, writer: EventWriter, item: str, index: int) -> None:
        self.item = item
        self._writer = writer
        self._at = {"item_id": item, "output_index": index, "content_index": 0}
        self._index = index
        self._pieces: list[bytes] = []
        self._before = _BEFORE_NUMBER % (orjson.dumps(item), index)

    def opened(self) -> list[bytes]:
        added = {"output_index": self._index, "item": opened_message(self.item)}
        return [
            self._writer.event("response.output_item.added", added),
            self._writer.event("response.content_part.added", {**self._at, "part": text_part("")}),
        ]

    def delta(self, text: bytes) -> bytes:
        """`text`: a JSON string, as it is in the frame. Nothing is parsed or dumped per delta."""
        self._pieces.append(text)
        writer = self._writer
        number = writer.number
        writer.number = number + 1
        return b'%b%d,"delta":%b}\n\n' % (self._before, number, text) if number > writer.silent_to else b""

    @property
    def text(self) -> str:
        return "".join(orjson.loads(piece) for piece in self._pieces)

    def closed(self, done: Item) -> list[bytes]:
        """`done`: the item as it is stored."""
        part = done["content"][0]
        at, event = self._at, self._writer.event
        annotated = [
            event(
                "response.output_text.annotation.added",
                {**at, "annotation_index": number, "annotation": annotation},
            )
            for number, annotation in enumerate(part["annotations"])
        ]
        return [
            *annotated,
            event("response.output_text.done", {**at, "text": part["text"], "logprobs": []}),
            event("response.content_part.done", {**at, "part": part}),
            event("response.output_item.done", {"output_index": self._index, "item": done}),
        ]

    def void(self) -> bytes:
        """The item is no part of the response: another attempt begins the answer anew.

        There is no `output_text.done`, because clients parse the text that it brings.
        """
        item = {**opened_message(self.item, "incomplete"), "content": [text_part(self.text)]}
        return self._writer.event("response.output_item.done", {"output_index": self._index, "item": item})


def call_events(writer: EventWriter, index: int, item: Item) -> list[bytes]:
    """A call of a caller's tool, which is known as a whole."""
    at = {"item_id": item["id"], "output_index": index}
    opening = {**item, "arguments": "", "status": "in_progress"}
    named = {"name": item["name"], "arguments": item["arguments"]}
    return [
        writer.event("response.output_item.added", {"output_index": index, "item": opening}),
        writer.event("response.function_call_arguments.delta", {**at, "delta": item["arguments"]}),
        writer.event("response.function_call_arguments.done", {**at, **named}),
        writer.event("response.output_item.done", {"output_index": index, "item": item}),
    ]


def search_events(writer: EventWriter, index: int, item: Item) -> list[bytes]:
    """A search of the agent's knowledge, which is known when it is over."""
    at = {"item_id": item["id"], "output_index": index}
    opening = {**item, "status": "in_progress", "results": None}
    return [
        writer.event("response.output_item.added", {"output_index": index, "item": opening}),
        *(writer.event(f"response.file_search_call.{step}", at) for step in ("in_progress", "searching", "completed")),
        writer.event("response.output_item.done", {"output_index": index, "item": item}),
    ]
