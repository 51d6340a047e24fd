"""Pure: the frames of a stored turn, for readers whom its log cannot serve."""

from collections.abc import Sequence

from shared.contracts.frames import FrameId, StreamFrame, stream_frame
from shared.contracts.sessions import TurnMessage
from shared.contracts.turns import StoredTurn, Turn, terminal_frame


def replayed_from_stored(stored: StoredTurn) -> list[StreamFrame]:
    """A stored turn for a reader whose continuity cannot be proved: drop what you have, this is all of it."""
    restarted = stream_frame("restarted", {"attempt": stored.turn.attempt, "reason": "log_expired"})
    return [restarted, *whole_answer(stored.turn, stored.output, FrameId(stored.turn.attempt, stored.last_seq))]


def whole_answer(turn: Turn, output: Sequence[TurnMessage], last_id: FrameId | None = None) -> list[StreamFrame]:
    """An ended turn's text in one frame, then its terminal frame, whose id is `last_id`."""
    text = "".join(message.content or "" for message in output if message.role == "assistant")
    event, data = terminal_frame(turn, tuple(output))
    return [*([stream_frame("delta", {"text": text})] if text else []), stream_frame(event, data, last_id)]
