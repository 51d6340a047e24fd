"""Pure: the data of a server-sent event stream's events, from bytes that are cut anywhere."""

from typing import Final

MAX_EVENT: Final = 8 << 20


class EventTooLong(Exception):
    """An event, or a line, exceeds `MAX_EVENT` bytes."""


class EventSplitter:
    """`feed` takes what the network brings and returns the data of the events that are complete by now.

    Lines end with LF, CR or CRLF; comments and other fields are skipped; several `data:` lines of an event are joined
    by LF (https://html.spec.whatwg.org/multipage/server-sent-events.html). Work per byte is constant, however small the
    pieces.
    """

    __slots__ = ("_data", "_line", "_size", "_skip_lf")

    def __init__(self) -> None:
        self._line: list[bytes] = []  # Pieces of the line that has not ended yet.
        self._data: list[bytes] = []
        self._size = 0
        self._skip_lf = False

    def feed(self, piece: bytes) -> list[bytes]:
        """Raises EventTooLong."""
        if self._is_one_event(piece):
            return [piece[6:-2]]
        if self._skip_lf and piece:
            # A CR ended the last piece: an LF that follows belongs to it.
            self._skip_lf = False
            if piece[0] == 10:
                piece = piece[1:]
        if b"\r" in piece:
            self._skip_lf = piece[-1] == 13
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = piece.split(b"\n")
        rest = lines.pop()
        events: list[bytes] = []
        for line in lines:
            self._end_line(line, events)
        if rest:
            self._grow(len(rest))
            self._line.append(rest)
        return events

    def _is_one_event(self, piece: bytes) -> bool:
        """The usual case: a piece that is one event of one line, and nothing waits."""
        return (
            piece.startswith(b"data: ")
            and piece.find(b"\n") == len(piece) - 2
            and piece.endswith(b"\n\n")
            and not (self._line or self._data or self._skip_lf)
            and b"\r" not in piece
            and len(piece) <= MAX_EVENT
        )

    def _end_line(self, line: bytes, events: list[bytes]) -> None:
        if self._line:
            self._line.append(line)
            line = b"".join(self._line)
            self._line.clear()
        if line.startswith(b"data:"):
            self._grow(len(line))
            self._data.append(line[6:] if line[5:6] == b" " else line[5:])
        elif not line:
            self._size = 0
            if self._data:
                events.append(self._data[0] if len(self._data) == 1 else b"\n".join(self._data))
                self._data.clear()

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > MAX_EVENT:
            raise EventTooLong

    def rest(self) -> list[bytes]:
        """The last event of a stream that ends without its empty line: some servers leave it out after `[DONE]`."""
        return self.feed(b"\n\n")
