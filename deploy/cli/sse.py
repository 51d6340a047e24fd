"""Server-sent events as a client reads them. An id counts once its whole frame is there. Pure."""

from typing import Any, NamedTuple

import orjson


class Frame(NamedTuple):
    event: str
    data: dict[str, Any]
    id: str | None = None


class FrameReader:
    """Bytes in, whole frames out; half a frame waits for its rest."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[Frame]:
        *blocks, self._rest = (self._rest + chunk).split(b"\n\n")
        return [frame for block in blocks if (frame := _frame(block)) is not None]


def _frame(block: bytes) -> Frame | None:
    """None for comments."""
    fields: dict[bytes, bytes] = {}
    for line in block.split(b"\n"):
        name, colon, value = line.partition(b":")
        if name and colon:
            fields[name] = value.removeprefix(b" ")
    if b"data" not in fields:
        return None
    frame_id = fields.get(b"id")
    data = orjson.loads(fields[b"data"])
    return Frame(fields.get(b"event", b"message").decode(), data, frame_id.decode() if frame_id else None)
