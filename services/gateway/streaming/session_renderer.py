"""Pure: the frames of a turn as the clients of sessions receive them, which is as they are."""

from collections.abc import Sequence
from typing import Final

from services.gateway.streaming.renderer import PING, End, Rendered, Send
from shared.contracts.errors import ApiError
from shared.contracts.frames import StreamFrame, encode
from shared.contracts.turns import Turn


def queued_frame(session_id: str, turn: Turn, user_message_id: str, position: int) -> bytes:
    """The first frame for a reader who has none yet. It stands in no log, so it has no id. `position` 0 is the next."""
    members = {"turnId": turn.id, "sessionId": session_id, "userMessageId": user_message_id, "position": position}
    return encode("queued", members)


class SessionRenderer:
    """`first`: what the client gets before any frame.

    A stream that cannot go on ends without a terminal frame, which no client may take for an answer: it resumes.
    """

    can_restart: Final = True

    def __init__(self, turn_id: str, request_id: str, first: bytes = b"") -> None:
        self._turn_id = turn_id
        self._request_id = request_id
        self._first = first

    def start(self) -> bytes:
        return self._first

    def frames(self, frames: Sequence[StreamFrame]) -> Rendered:
        return Rendered([frame.data for frame in frames], End.CLEAN if frames[-1].is_terminal else None)

    def fast_path(self, send: Send) -> Send:
        return send

    def ping(self) -> bytes:
        return PING

    def interrupted(self) -> Rendered:
        return Rendered((), End.CLEAN)

    def failed(self, error: ApiError) -> Rendered:
        return Rendered([encode("error", {"turnId": self._turn_id, **error.problem(self._request_id)})], End.CLEAN)
