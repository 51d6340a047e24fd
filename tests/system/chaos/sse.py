"""Pure: splits the bytes of an event stream into frames.

Self-written, so that the suite does not trust the code under test.
"""

from collections.abc import Iterator
from typing import NamedTuple


class RawFrame(NamedTuple):
    """`data` as it came, still JSON."""

    id: str | None
    event: str
    data: str


class Splitter:
    """Feed it bytes as they come. A comment is no frame."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[RawFrame]:
        *blocks, self._buffer = (self._buffer + data).split(b"\n\n")
        for block in blocks:
            if (frame := _frame(block.decode())) is not None:
                yield frame


def _frame(block: str) -> RawFrame | None:
    name: str | None = None
    event, data = "message", list[str]()
    for line in block.split("\n"):
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "id":
            name = value
        elif field == "event":
            event = value
        elif field == "data":
            data.append(value)
    return RawFrame(name, event, "\n".join(data)) if data else None
