"""Pure: the events of a session as its readers receive them, which is as they are."""

from collections.abc import Sequence
from typing import Final

from services.gateway.streaming.renderer import PING, End, Rendered, Send
from shared.contracts.errors import ApiError
from shared.contracts.frames import StreamFrame, delta_text, encode
from shared.contracts.session_events import SESSION_ENDED


class SessionEventsRenderer:
    """`hides_reasoning`: frames of the model's reasoning are left out.

    A stream that cannot go on ends without `session_ended`, and its reader resumes it.
    """

    can_restart: Final = True

    def __init__(self, request_id: str, *, hides_reasoning: bool = True) -> None:
        self._request_id = request_id
        self._hides_reasoning = hides_reasoning

    def start(self) -> bytes:
        return b""

    def frames(self, frames: Sequence[StreamFrame]) -> Rendered:
        shown = [frame.data for frame in frames if not (self._hides_reasoning and frame.event == "reasoning")]
        return Rendered(shown, End.CLEAN if frames[-1].event == SESSION_ENDED else None)

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
        return Rendered([encode("error", error.problem(self._request_id))], End.CLEAN)
