from datetime import UTC, datetime

import pytest

from shared.contracts.turns import FinishedTurn
from shared.outbox import SCHEMA_VERSION, OutboxEntry, UnreadableEntry, body_of

TURN = FinishedTurn(
    workspace="ws", turn_id="trn_1", attempt=2, status="completed", ended_at=datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
)


def fields(**more: bytes) -> dict[bytes, bytes]:
    given = {"turn": b"trn_1", "workspace": b"ws", "v": b"1", "body": body_of(TURN)} | more
    return {name.encode(): value for name, value in given.items()}


def test_an_entry_comes_back_as_it_was() -> None:
    entry = OutboxEntry.of(fields())
    assert (entry.turn_id, entry.workspace, entry.schema_version) == ("trn_1", "ws", SCHEMA_VERSION)
    assert entry.finished_turn().wire() == TURN.wire()


def test_an_entry_from_before_schema_versions_is_read() -> None:
    old = fields()
    del old[b"v"]
    assert OutboxEntry.of(old).finished_turn().wire() == TURN.wire()


def test_unknown_members_are_ignored() -> None:
    body = body_of(TURN)[:-1] + b',"later":{"a":1}}'
    assert OutboxEntry.of(fields(body=body, later=b"x")).finished_turn().wire() == TURN.wire()


@pytest.mark.parametrize(
    "more",
    [
        {"body": b""},
        {"body": b"no json"},
        {"body": b"[]"},
        {"body": b'{"turnId":"trn_1"}'},
        {"body": b"\xff\xfe"},
        {"v": str(SCHEMA_VERSION + 1).encode()},
        {"v": b"one"},
    ],
)
def test_what_this_version_cannot_read_is_unreadable(more: dict[str, bytes]) -> None:
    with pytest.raises(UnreadableEntry):
        OutboxEntry.of(fields(**more)).finished_turn()
