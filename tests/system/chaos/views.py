"""Pure: one reader's view of one turn, put together frame by frame, and what is wrong with it."""

from collections.abc import Iterator
from dataclasses import dataclass

from shared.contracts.frames import BEGINNING, TERMINAL_EVENTS, FrameId
from tests.system.chaos.events import Frame
from tests.system.chaos.questions import is_started, is_whole


@dataclass(kw_only=True)
class View:
    """`text` is what the reader would show. `whole_at`: when it first was a whole answer of the current attempt.

    `erased`: a deletion of the session was asked for by now, so the stream may end with an error that stands in no
    document.
    """

    turn: str
    asked: str
    session: str = ""
    erased: bool = False
    position: FrameId = BEGINNING
    text: str = ""
    replayed: bool = False
    end: Frame | None = None
    whole_at: float | None = None

    def read(self, frame: Frame) -> Iterator[str]:
        """Takes one frame in; yields what the protocol forbids about it."""
        if self.end is not None:
            yield f"{frame.event} {frame.id} came after the end {self.end.event} {self.end.id}"
        elif frame.event == "queued":
            if self.position != BEGINNING or self.text:
                yield f"`queued` came after {self.position}"
        elif frame.event == "error" and frame.id is None and self.erased:
            self.end = frame
        elif frame.id is None:
            yield from self._replay(frame)
        else:
            yield from self._read_numbered(frame, FrameId.parse(frame.id))

    def _replay(self, frame: Frame) -> Iterator[str]:
        """The stored turn told anew: `restarted` and the text, both without an id."""
        if frame.event == "restarted":
            self.replayed = True
            self._drop_text()
        elif frame.event == "delta" and self.replayed:
            yield from self._write(frame)
        else:
            yield f"{frame.event} came without an id"

    def _read_numbered(self, frame: Frame, frame_id: FrameId) -> Iterator[str]:
        if frame_id <= self.position and not (self.replayed and frame_id == self.position):
            yield f"{frame.event} {frame_id} came after {self.position}: ids must grow"
        elif self.replayed and frame.event not in TERMINAL_EVENTS:
            yield f"{frame.event} {frame_id} came after the whole answer"
        elif not self.replayed and not self._continues(frame, frame_id):
            yield f"{frame.event} {frame_id} came after {self.position}: a hole"
        self.position = frame_id
        if frame.event == "restarted":
            self._drop_text()
        elif frame.event == "delta":
            yield from self._write(frame)
        elif frame.event in TERMINAL_EVENTS:
            self.end = frame
            yield from self._check_end(frame)

    def _continues(self, frame: Frame, frame_id: FrameId) -> bool:
        before = self.position
        if frame_id.attempt == before.attempt:
            return frame_id.seq == before.seq + 1
        # A later attempt's first frame makes what was before void. `done` does not say so, unless there was nothing.
        opening = frame.event in ("restarted", "error") or (before == BEGINNING and frame_id.attempt == 1)
        return frame_id.seq == 1 and opening

    def _drop_text(self) -> None:
        self.text, self.whole_at = "", None

    def _write(self, frame: Frame) -> Iterator[str]:
        was_right = is_started(self.asked, self.text)
        self.text += frame.data.get("text", "")
        if was_right and not is_started(self.asked, self.text):
            yield f"the text that {frame.id} goes on with is not the model's: {self.text[-80:]!r}"
        if self.whole_at is None and is_whole(self.asked, self.text):
            self.whole_at = frame.at

    def _check_end(self, frame: Frame) -> Iterator[str]:
        if frame.event == "done" and frame.data.get("text") != self.text:
            seen = str(frame.data.get("text"))[-60:]
            yield f"{frame.id} says {seen!r}, the frames before it said {self.text[-60:]!r}"
