"""Pure: the frames of a turn as the clients of sessions receive them, which is as they are."""

from collections.abc import Sequence
from typing import Final

from services.gateway.streaming.renderer import PING, End, Rendered, Send
from shared.contracts.errors import ApiError
from shared.contracts.frames import StreamFrame, delta_text, encode
from shared.contracts.turns import Turn


def queued_frame(session_id: str, turn: Turn, user_message_id: str, position: int) -> bytes:
    """The first frame for a reader who has none yet. It is in no log, so it has no id. `position` 0 is the next."""
    members = {"turnId": turn.id, "sessionId": session_id, "userMessageId": user_message_id, "position": position}
    return encode("queued", members)


class SessionRenderer:
    """`first`: what the client gets before any frame. `hides_reasoning`: frames of the model's reasoning are left out.

    A stream that cannot go on ends without a terminal frame, which no client may take for an answer: it resumes.
    """

    can_restart: Final = True

    def __init__(self, turn_id: str, request_id: str, first: bytes = b"", *, hides_reasoning: bool = False) -> None:
        self._turn_id = turn_id
        self._request_id = request_id
        self._first = first
        self._hides_reasoning = hides_reasoning

    def start(self) -> bytes:
        return self._first

    def frames(self, frames: Sequence[StreamFrame]) -> Rendered:
        shown = [frame.data for frame in frames if not (self._hides_reasoning and frame.event == "reasoning")]
        return Rendered(shown, End.CLEAN if frames[-1].is_terminal else None)

    def fast_path(self, send: Send) -> Send:
        if not self._hides_reasoning:
            return send
        # The other frames need a look at their event.
        return lambda frame: delta_text(frame) is not None and send(frame)

    def ping(self) -> bytes:
        return PING

    def interrupted(self) -> Rendered:
        return Rendered((), End.CLEAN)

    def failed(self, error: ApiError) -> Rendered:
        return Rendered([encode("error", {"turnId": self._turn_id, **error.problem(self._request_id)})], End.CLEAN)
