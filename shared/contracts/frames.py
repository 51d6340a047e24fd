"""Frames of a turn's stream: their ids and their bytes. The id is the order, the dedupe key, the SSE `id:` and the fence."""

import re
from typing import Any, NamedTuple

import orjson

TERMINAL_EVENTS = frozenset({"done", "error"})
_ID = re.compile(r"([1-9][0-9]{0,9})-([1-9][0-9]{0,9})")
# Legal in JSON strings, but some SSE clients split lines on them.
_LINE_BREAKERS = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))


class FrameId(NamedTuple):
    """`<attempt>-<seq>`, both from 1. Compares as the log orders it. `FrameId(0, 0)` comes before every frame."""

    attempt: int
    seq: int

    def __str__(self) -> str:
        return f"{self.attempt}-{self.seq}"

    @classmethod
    def parse(cls, text: str) -> "FrameId":
        """Raises ValueError on anything but the canonical form: a client's `Last-Event-ID` comes through here."""
        found = _ID.fullmatch(text)
        if found is None:
            raise ValueError("not a frame id")
        return cls(int(found[1]), int(found[2]))

    def follows(self, before: "FrameId") -> bool:
        """Whether nothing can stand between `before` and this id.

        A later attempt's first frame proves nothing: the lower attempt may have written frames that we have not seen. It
        does follow the very beginning, when no attempt can have written before.
        """
        return (self.attempt == before.attempt and self.seq == before.seq + 1) or (
            before == BEGINNING and self == (1, 1)
        )


BEGINNING = FrameId(0, 0)


def json_line(value: Any) -> bytes:
    """One line of JSON that no SSE parser splits."""
    line: bytes = orjson.dumps(value)
    for raw, escaped in _LINE_BREAKERS:
        if raw in line:
            line = line.replace(raw, escaped)
    return line


def frame_body(event: str, data: dict[str, Any]) -> bytes:
    """A frame without its `id:` line, ready for the log: `event: …`, `data: …`, an empty line."""
    return b"event: " + event.encode() + b"\ndata: " + json_line(data) + b"\n\n"


def frame_bytes(frame_id: bytes, body: bytes) -> bytes:
    """A whole frame as a session's client receives it. Pub/sub carries the same bytes, so that the gateway forwards them as they are."""
    return b"id: " + frame_id + b"\n" + body


def split_frame(frame: bytes) -> tuple[FrameId, bytes]:
    """A published frame's id and body."""
    head, _, body = frame.partition(b"\n")
    return FrameId.parse(head[4:].decode()), body


def event_of(body: bytes) -> str:
    """The event's name."""
    return body[7 : body.index(b"\n")].decode()


def data_of(body: bytes) -> dict[str, Any]:
    """The event's data."""
    start = body.index(b"\ndata: ") + 7
    value: dict[str, Any] = orjson.loads(body[start : body.rindex(b"\n\n")])
    return value
