"""The frame codec: the ids and the bytes of a turn's frames. No other module slices or formats frame bytes.

A frame is one server-sent event, `event: …`, `data: …`, `id: 1-5` and an empty line. The run log holds these bytes, the
channel publishes them, and a session's client receives them: nothing on that way rewrites a frame.
`id:` is the last line because some clients commit an id as soon as they have read its line. If their connection is cut
inside a frame, they must not resume after a frame that they never received.
"""

import re
from typing import Any, Final, NamedTuple

import orjson

TERMINAL_EVENTS: Final = frozenset({"done", "error"})
_TERMINAL_STARTS: Final = tuple(b"event: %b\n" % event.encode() for event in sorted(TERMINAL_EVENTS))
# How `encode("delta", {"text": …})` begins. A delta has no other member.
_DELTA_START: Final = b'event: delta\ndata: {"text":'
_ID_LINE: Final = b"\nid: "
_ID: Final = re.compile(r"([1-9][0-9]{0,9})-([1-9][0-9]{0,9})")
# Legal in JSON strings, but some SSE clients split lines on them.
_LINE_BREAKERS: Final = ((b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"), (b"\xc2\x85", b"\\u0085"))


class FrameId(NamedTuple):
    """`<attempt>-<seq>`, both from 1. Compares as the log orders it. `FrameId(0, 0)` comes before every frame.

    It is the order, the dedupe key, the SSE `id:` and the fence in one.
    """

    attempt: int
    seq: int

    def __str__(self) -> str:
        return f"{self.attempt}-{self.seq}"

    @classmethod
    def parse(cls, text: str) -> "FrameId":
        """Raises ValueError on anything but the canonical form: a client's `Last-Event-ID` is parsed here."""
        found = _ID.fullmatch(text)
        if found is None:
            raise ValueError("not a frame id")
        return cls(int(found[1]), int(found[2]))

    def follows(self, before: "FrameId") -> bool:
        """Whether no frame can exist between `before` and this id.

        A later attempt's first frame proves nothing: the lower attempt may have written frames that this reader has not
        seen. It does follow the very beginning, when no attempt can have written before.
        """
        return (self.attempt == before.attempt and self.seq == before.seq + 1) or (
            before == BEGINNING and self == (1, 1)
        )


BEGINNING: Final = FrameId(0, 0)


class StreamFrame(NamedTuple):
    """A frame and its id. `id` is None for frames that are made for one reader and are in no log."""

    id: FrameId | None
    data: bytes

    @property
    def event(self) -> str:
        return event_of(self.data)

    @property
    def is_terminal(self) -> bool:
        return is_terminal(self.data)


def json_line(value: Any) -> bytes:
    """One line of JSON that no SSE parser splits."""
    line: bytes = orjson.dumps(value)
    for raw, escaped in _LINE_BREAKERS:
        if raw in line:
            line = line.replace(raw, escaped)
    return line


def encode(event: str, data: dict[str, Any], frame_id: FrameId | None = None) -> bytes:
    """A frame's bytes. Raises TypeError for text that is not valid Unicode."""
    end = b"\n\n" if frame_id is None else b"\nid: %d-%d\n\n" % frame_id
    return b"event: " + event.encode() + b"\ndata: " + json_line(data) + end


def stream_frame(event: str, data: dict[str, Any], frame_id: FrameId | None = None) -> StreamFrame:
    return StreamFrame(frame_id, encode(event, data, frame_id))


def decode(frame: bytes) -> StreamFrame:
    """A published frame. Raises ValueError when it does not end with its id, as another version's frames may not."""
    return StreamFrame(FrameId.parse(id_text(frame).decode()), frame)


def decode_v1(body: bytes, frame_id: FrameId) -> StreamFrame:
    """An entry of a run log of version 1, which held frames without their ids."""
    return StreamFrame(frame_id, body[:-1] + b"id: %d-%d\n\n" % frame_id)


def continues(frame: bytes, position: FrameId) -> bool:
    """Whether the frame directly follows `position` within its attempt, and the stream goes on after it.

    The fast path asks this once per token, so it compares the two ends of the frame and parses nothing.
    """
    attempt, seq = position
    return frame.endswith(b"\nid: %d-%d\n\n" % (attempt, seq + 1)) and not frame.startswith(_TERMINAL_STARTS)


def id_text(frame: bytes) -> bytes:
    """The id as it is written in the frame; empty when the frame has none."""
    start = frame.rfind(_ID_LINE)
    return frame[start + len(_ID_LINE) : -2] if start >= 0 else b""


def event_of(frame: bytes) -> str:
    """The event's name."""
    return frame[7 : frame.index(b"\n")].decode()


def scoped(frame: bytes, scope: str) -> bytes:
    """The frame as a part of a wider stream, with the id `<scope>.<attempt>-<seq>`. Without an id it stays as it is."""
    body, line, end = frame.rpartition(_ID_LINE)
    return b"%b%b%b.%b" % (body, line, scope.encode(), end) if line else frame


def head_of(frame: bytes) -> tuple[FrameId | None, str]:
    """The id and the event's name, without a look at the data."""
    text = id_text(frame)
    return FrameId.parse(text.decode()) if text else None, event_of(frame)


def is_terminal(frame: bytes) -> bool:
    """Whether the frame ends its stream."""
    return frame.startswith(_TERMINAL_STARTS)


def data_of(frame: bytes) -> dict[str, Any]:
    """The event's data."""
    start = frame.index(b"\ndata: ") + 7
    value: dict[str, Any] = orjson.loads(frame[start : frame.index(b"\n", start)])
    return value


def delta_text(frame: bytes) -> bytes | None:
    """The JSON string of a delta's text, quotes included, as it is written in the frame; None for any other event."""
    if not frame.startswith(_DELTA_START):
        return None
    return frame[len(_DELTA_START) : frame.index(b"\n", len(_DELTA_START)) - 1]


def published_delta(frame: bytes) -> tuple[bytes, bytes] | None:
    """`delta_text` and `id_text` of a frame that has an id, in one pass: a fast path asks for both once per token."""
    if not frame.startswith(_DELTA_START):
        return None
    body, _, end = frame.rpartition(_ID_LINE)
    return body[len(_DELTA_START) : -1], end[:-2]
