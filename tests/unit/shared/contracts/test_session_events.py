"""Positions and events of a session's stream."""

from datetime import UTC, datetime

import pytest

from shared.contracts.errors import ApiError, Code
from shared.contracts.frames import BEGINNING, FrameId, data_of
from shared.contracts.session_events import (
    SESSION_EVENT_TYPES,
    SessionPosition,
    session_ended,
    turn_ended,
    turn_ended_live,
    turn_started,
)
from shared.contracts.sessions import Session, TurnMessage
from shared.contracts.turns import StoredTurn, Turn, TurnStatus, terminal_frame
from shared.ids import new_id

NOW = datetime.now(UTC)


def stored(status: TurnStatus, **turn: object) -> StoredTurn:
    values = {"id": new_id("trn"), "session_id": new_id("ses"), "agent_id": "agt_one", "agent_version": 1}
    made = Turn.model_validate({**values, "status": status, "attempt": 2, "created_at": NOW, **turn})
    message = TurnMessage(id=new_id("msg"), role="assistant", content="Yes.", created_at=NOW)
    return StoredTurn(turn=made, number=3, output=(message,), last_seq=7)


def test_a_position_is_written_as_it_is_read() -> None:
    for frame in (BEGINNING, FrameId(1, 1), FrameId(2, 31)):
        position = SessionPosition(new_id("trn"), frame)
        assert SessionPosition.parse(str(position)) == position


@pytest.mark.parametrize("tail", ["", ".", ".1", ".0-1", ".1-0", ".00-0", ".1-1 ", ".1-1\n", ".1-1.1-1", "1-1", "-1-1"])
def test_anything_else_is_no_position(tail: str) -> None:
    with pytest.raises(ValueError, match="position"):
        SessionPosition.parse(new_id("trn") + tail)
    with pytest.raises(ValueError, match="position"):
        SessionPosition.parse(new_id("ses") + ".1-1")


@pytest.mark.parametrize("status", ["completed", "cancelled", "failed"])
def test_a_turns_end_is_told_with_the_same_bytes_live_and_later(status: TurnStatus) -> None:
    error = ApiError(Code.TURN_TIMEOUT).problem() if status == "failed" else None
    turn = stored(status, error=error)
    live = turn_ended_live(turn, *terminal_frame(turn.turn, turn.output), FrameId(2, 7))
    assert live == turn_ended(turn)
    assert live.data.endswith(f"\nid: {turn.turn.id}.2-7\n\n".encode())
    assert data_of(live.data)["status"] == status


def test_the_events_have_the_members_that_the_table_lists() -> None:
    session = Session(id=new_id("ses"), agent_id="agt_one", agent_version=1, status="ended", created_at=NOW)
    failed = stored("failed", error=ApiError(Code.TURN_TIMEOUT).problem())
    for frame in (
        turn_started(stored("queued")),
        turn_ended(stored("completed")),
        turn_ended(failed),
        session_ended(session),
    ):
        members = SESSION_EVENT_TYPES[frame.event].members
        data = set(data_of(frame.data))
        assert data <= {name.removesuffix("?") for name in members}
        assert {name for name in members if not name.endswith("?")} <= data
