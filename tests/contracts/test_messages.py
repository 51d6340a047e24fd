"""What the processes of earlier releases said to each other, read by the decoders of this one."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from shared.contracts.frame_types import data_faults
from shared.contracts.frames import BEGINNING, StreamFrame, data_of, decode, event_of
from shared.contracts.jobs import RunTurn
from shared.contracts.turns import ClaimedTurn, FinishedTurn
from shared.key_notices import CHANNEL as KEY_NOTICES
from shared.key_notices import parse as parse_key_notice
from shared.outbox import OUTBOX
from shared.turn_queue.keys import CONTROL
from shared.turn_queue.queue import encode_job
from tests.contracts.calls import CALLS
from tests.contracts.normal import now_again
from tests.contracts.reading import lost, read_call, read_entry, row_of
from tests.contracts.recording import HERE, RELEASES, Recording

CALLERS: Final = ("gateway", "ingest", "worker")


@pytest.fixture(scope="module", params=RELEASES)
def recording(request: pytest.FixtureRequest) -> Recording:
    return Recording(HERE / request.param)


def entries(recording: Recording, prefix: str) -> list[tuple[str, list[Any]]]:
    """What the keys that begin so hold, decoded."""
    return [(row["key"], list(read_entry(row["key"], row))) for row in recording.redis if row["key"].startswith(prefix)]


@pytest.mark.parametrize("caller", CALLERS)
def test_history_and_its_callers_read_each_others_recorded_messages(caller: str, recording: Recording) -> None:
    known = [call for call in recording.messages()["calls"] if call["caller"] == caller]
    assert len(known) > 4
    for call in known:
        row = row_of(call, CALLS)
        assert row is not None, f"{call['method']} {call['path']} has no row in tests/contracts/calls.py"
        for sent, read in read_call(call, row):
            # A set has no order of its own.
            missing = lost(_sorted(_own(sent)), _sorted(read.model_dump(mode="json", by_alias=True, exclude_none=True)))
            assert not missing, f"{call['method']} {call['path']}: {missing}"


def _own(sent: dict[str, Any]) -> dict[str, Any]:
    """A row of a transcript is a message and where it belongs; the gateway passes it on as it is."""
    places = ("sessionId", "turnId") if "role" in sent else ()
    return {name: value for name, value in sent.items() if name not in places}


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _sorted(each) for name, each in value.items()}
    if isinstance(value, list):
        found = [_sorted(each) for each in value]
        return sorted(found) if all(isinstance(each, str) for each in found) else found
    return value


def test_a_worker_reads_recorded_jobs_and_the_claim_snapshot(recording: Recording) -> None:
    jobs = entries(recording, "arq:job:")
    assert len(jobs) == 2
    for key, (job,) in jobs:
        assert isinstance(job, RunTurn)
        assert (key, job.workspace) == (f"arq:job:{job.turn_id}", "acme")
        assert job.agent_version == 1
    ((_, snapshots),) = entries(recording, "parley:turns:snapshots")
    (snapshot,) = snapshots
    assert isinstance(snapshot, ClaimedTurn)
    assert (snapshot.run, snapshot.attempt) == (True, 1)
    assert [message.content for message in snapshot.input] == ["waiting"]


def test_a_job_of_this_release_has_all_that_the_last_one_reads() -> None:
    recording = Recording()
    row = next(row for row in recording.redis if row["key"].startswith("arq:job:"))
    ((_, (job,)), *_) = entries(recording, "arq:job:")
    old, new = _json(row["string"]), _json(encode_job(job).decode())
    assert old["f"] == new["f"]
    faults = lost(old["k"], new["k"])
    assert not faults, f"a worker of the last release cannot run the jobs of this one: {faults}"


def test_history_reads_a_recorded_outbox(recording: Recording) -> None:
    ((_, (finished,)),) = entries(recording, OUTBOX)
    assert isinstance(finished, FinishedTurn)
    assert finished.turn_id == recording.turns["finished"]
    assert (finished.status, finished.attempt, finished.finish_reason) == ("completed", 1, "stop")
    assert finished.usage is not None
    assert finished.output[0].content


def test_a_gateway_reads_recorded_run_logs(recording: Recording) -> None:
    logs = entries(recording, "turn:")
    assert len(logs) > 10
    seen = {event for _, frames in logs for event in _checked(frames)}
    assert seen == {"started", "delta", "kb_retrieval", "tool_call", "tool_result", "restarted", "done", "error"}


def _checked(frames: Iterable[StreamFrame]) -> list[str]:
    last, events = BEGINNING, list[str]()
    for frame in frames:
        assert frame.id is not None
        assert decode(frame.data) == frame
        assert frame.id.follows(last) or frame.id.attempt > last.attempt or frame.is_terminal
        faults = [fault for fault in data_faults(frame.event, data_of(frame.data)) if " lacks " not in fault]
        assert not faults
        last, events = frame.id, [*events, frame.event]
    return events


def test_what_was_published_is_understood(recording: Recording) -> None:
    frames, others = set[str](), dict[str, str]()
    for channel, text in recording.rows("published.json"):
        if channel.startswith("turn:"):
            frames.add(event_of(decode(text.encode()).data))
        others[channel.partition(":")[0] if channel.startswith("session:") else channel] = text
    assert frames >= {"started", "delta", "done", "error"}
    assert others[CONTROL].startswith("trn_")
    assert others["session"].startswith("trn_")
    workspace, _ = parse_key_notice(others[KEY_NOTICES].encode())
    assert workspace == "closed"


def test_a_recording_moves_in_time_as_a_whole() -> None:
    text = '{"at": "2025-12-31T23:59:59.500Z", "score": 1767225599500, "turn": "trn_01m80000000000000000000113"}'
    moved = now_again(text, datetime(2026, 6, 1, tzinfo=UTC))
    assert (
        moved == '{"at": "2026-05-31T23:59:59.500Z", "score": 1780271999500, "turn": "trn_01m80000000000000000000113"}'
    )


def _json(text: str) -> Any:
    return json.loads(text)
