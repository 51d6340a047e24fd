"""A turn's document is enough to enqueue it again."""

from datetime import UTC, datetime

import pytest

from services.history.turns.new_turn import Target, new_turn
from services.history.turns.record import TurnRecord
from shared.contracts.turns import AdmitTurn


@pytest.mark.parametrize(
    ("key_id", "check", "flow"),
    [("key_1", None, "key_1"), (None, None, "acme"), (None, "run_1", "checks:acme"), ("key_1", "run_1", "checks:acme")],
)
def test_a_record_makes_the_job_that_its_admission_made(key_id: str | None, check: str | None, flow: str) -> None:
    order = AdmitTurn(turn_id="trn_1", messages=(), body_digest="", key_id=key_id, weight=3)
    document = new_turn("acme", order, Target("agt_1", 7), 0)
    admitted = datetime(2026, 11, 27, 12, 0, 0, 250_999, tzinfo=UTC)
    document |= {"createdAt": admitted} | ({"check": check} if check else {})
    job = TurnRecord.model_validate(document).job()
    assert (job.workspace, job.turn_id, job.agent_id, job.agent_version) == ("acme", "trn_1", "agt_1", 7)
    assert (job.flow, job.weight) == (flow, 3)
    assert job.enqueued_at == int(admitted.timestamp()) * 1000 + 250


def test_a_turn_of_a_release_without_keys_in_turns_belongs_to_its_workspace() -> None:
    document = new_turn("acme", AdmitTurn(turn_id="trn_1", messages=(), body_digest=""), Target("agt_1", 7), 0)
    assert not {"keyId", "weight"} & document.keys()
    job = TurnRecord.model_validate(document).job()
    assert (job.flow, job.weight) == ("acme", 1)
