"""The live stream of a session: its positions, its event types, and what each event says. Pure.

The stream tells a session's turns in the order of their numbers: `turn_started`, on request the frames of the turn
while it runs, `turn_ended`. Ids are `<turnId>.<attempt>-<seq>`. Attempts do not order turns, so the turn is part of the
id.
"""

import re
from typing import Any, Final, NamedTuple

from shared.contracts.frame_types import FrameType
from shared.contracts.frames import BEGINNING, FrameId, StreamFrame, encode, scoped
from shared.contracts.sessions import Session
from shared.contracts.turns import StoredTurn, terminal_frame

TURN_STARTED: Final = "turn_started"
TURN_ENDED: Final = "turn_ended"
SESSION_ENDED: Final = "session_ended"
_BEGINNING_TEXT: Final = str(BEGINNING)
POSITION_PATTERN: Final = r"^trn_[0-9a-hjkmnp-tv-z]{26}\.(0-0|[1-9][0-9]{0,9}-[1-9][0-9]{0,9})$"
_POSITION: Final = re.compile(POSITION_PATTERN)

SESSION_EVENT_TYPES: Final[dict[str, FrameType]] = {
    TURN_STARTED: FrameType(
        "gateway",
        "A turn of the session is stored. Its id is `<turnId>.0-0`.",
        {
            "turnId": "id of the turn",
            "sessionId": "id of the session",
            "number": "the turn's place in the session, from 1",
            "agentId": "id of the agent",
            "agentVersion": "number of the agent's version",
            "createdAt": "when the turn was accepted",
            "messages": "list of the messages that the turn answers",
        },
    ),
    TURN_ENDED: FrameType(
        "gateway",
        "The turn's end is stored. It stands for the turn's `done` or `error`, and has that frame's id.",
        {
            "turnId": "id of the turn",
            "number": "the turn's place in the session, from 1",
            "status": "`completed`, `cancelled` or `failed`",
            "finishReason?": "as in `done`",
            "messages?": "the stored assistant and tool messages of the turn",
            "usage?": "as in `done`",
            "timing?": "as in `done`",
            "error?": "the problem document of a failed turn",
        },
    ),
    SESSION_ENDED: FrameType(
        "gateway",
        "The session has ended and all its turns have been told. Last; it has no `id:`.",
        {
            "sessionId": "id of the session",
            "endedReason": "`api`, `agent`, `visitor` or `expired`",
            "endedAt": "when it ended",
        },
        terminal=True,
    ),
}


class SessionPosition(NamedTuple):
    """A place in the stream of a session: in this turn, after this frame. `0-0` comes before every frame."""

    turn_id: str
    frame: FrameId

    def __str__(self) -> str:
        return f"{self.turn_id}.{self.frame}"

    @classmethod
    def parse(cls, text: str) -> "SessionPosition":
        """Raises ValueError on anything but the canonical form."""
        turn_id, _, frame = text.partition(".")
        if _POSITION.fullmatch(text) is None or text.endswith("\n"):
            raise ValueError("not a position in a session")
        return cls(turn_id, BEGINNING if frame == _BEGINNING_TEXT else FrameId.parse(frame))


def turn_started(stored: StoredTurn) -> StreamFrame:
    turn = stored.turn
    data = {
        "turnId": turn.id,
        "sessionId": turn.session_id,
        "number": stored.number,
        "agentId": turn.agent_id,
        "agentVersion": turn.agent_version,
        "createdAt": turn.wire()["createdAt"],
        "messages": [message.public(turn.session_id, turn.id) for message in stored.input],
    }
    return _event(TURN_STARTED, data, SessionPosition(turn.id, BEGINNING))


def turn_ended(stored: StoredTurn) -> StreamFrame:
    """The end of a turn that is stored as ended."""
    event, data = terminal_frame(stored.turn, stored.output)
    return turn_ended_live(stored, event, data, end_of(stored))


def turn_ended_live(stored: StoredTurn, event: str, data: dict[str, Any], frame_id: FrameId) -> StreamFrame:
    """The same, from the turn's terminal frame. `stored` may have been read before the end."""
    if event == "error":
        problem = {name: value for name, value in data.items() if name != "turnId"}
        data = {"turnId": stored.turn.id, "status": "failed", "error": problem}
    ended = {"turnId": stored.turn.id, "number": stored.number, **data}
    return _event(TURN_ENDED, ended, SessionPosition(stored.turn.id, frame_id))


def session_ended(session: Session) -> StreamFrame:
    wire = session.wire()
    data = {"sessionId": session.id, "endedReason": wire.get("endedReason"), "endedAt": wire.get("endedAt")}
    return StreamFrame(None, encode(SESSION_ENDED, data))


def end_of(stored: StoredTurn) -> FrameId:
    """The id of an ended turn's last frame."""
    return FrameId(stored.turn.attempt, stored.last_seq)


def _event(name: str, data: dict[str, Any], position: SessionPosition) -> StreamFrame:
    """Its id is in its bytes alone: a StreamFrame's own id counts within one turn."""
    return StreamFrame(None, scoped(encode(name, data, position.frame), position.turn_id))
