"""The chaos checker on histories made by hand: it accepts a good one and finds each broken promise."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from deploy.demo.scripted import scripted_pieces
from tests.system.chaos.checker import check
from tests.system.chaos.events import (
    Accepted,
    Answered,
    Asked,
    Cancelled,
    Chunked,
    Closed,
    Deleted,
    Deleting,
    Ending,
    Event,
    Failed,
    Frame,
    History,
    Injected,
    Looked,
    Opened,
    Overdue,
    Probed,
    Recovered,
    Refused,
    Remains,
    Reserved,
    Stored,
    Transcript,
)

TURN, SESSION, QUESTION = "trn_1", "ses_1", "(short) question 1 – où est ma pizza?"
PIECES = scripted_pieces(QUESTION, 30, 0)
TEXT = "".join(PIECES)
OTHER = "".join(scripted_pieces(QUESTION, 30, 1))
USAGE = {"promptTokens": 9, "completionTokens": 30, "totalTokens": 39}

STORED = Stored(
    turn=TURN,
    session=SESSION,
    key="key-1",
    status="completed",
    attempt=1,
    asked=QUESTION,
    text=TEXT,
    message_ids=("msg_1", "msg_2"),
    last_seq=4,
    usage=USAGE,
)
TRANSCRIPT = Transcript(
    session=SESSION, messages=((TURN, "user", "msg_1", QUESTION), (TURN, "assistant", "msg_2", TEXT))
)


def frame(name: str | None, event: str, at: float = 1.0, view: int = 1, **data: Any) -> Frame:
    return Frame(at=at, view=view, id=name, event=event, data=data)


def done(name: str = "1-4", view: int = 1, text: str = TEXT) -> Frame:
    return frame(name, "done", view=view, status="completed", text=text, usage=USAGE)


def good_stream(view: int = 1) -> list[Event]:
    return [
        Opened(at=1.0, view=view, turn=TURN),
        frame(None, "queued", view=view),
        frame("1-1", "started", view=view),
        frame("1-2", "delta", view=view, text="".join(PIECES[:10])),
        frame("1-3", "delta", view=view, text="".join(PIECES[10:])),
        done(view=view),
        Closed(at=2.0, view=view, how="clean"),
    ]


def history(*told: Event, stored: Stored | None = STORED, transcript: Transcript | None = TRANSCRIPT) -> History:
    asked = Asked(at=0.0, request=1, session=SESSION, content=QUESTION, key="key-1")
    accepted = Accepted(at=0.5, request=1, turn=TURN)
    return History([asked, accepted, *told, *([stored] if stored else []), *([transcript] if transcript else [])])


def rules(*told: Event, **more: Any) -> set[str]:
    return {violation.rule for violation in check(history(*told, **more))}


def test_a_good_run_has_no_violation() -> None:
    answered = Answered(at=2.0, request=1, turn=TURN, status="completed", text=TEXT, usage=USAGE)
    assert check(history(*good_stream(), *good_stream(view=2), answered)) == []


def test_a_reservation_of_a_turn_that_has_ended_is_found() -> None:
    held = Reserved(turn=TURN, what="12 0 under a counter")
    assert rules(held) == {"reservations are released"}
    assert rules(held, stored=replace(STORED, status="cancelled")) >= {"reservations are released"}
    assert rules(Reserved(turn="", what="7 tokens under a counter")) == {"reservations are released"}


def test_a_reservation_of_a_turn_that_runs_is_no_violation() -> None:
    held = Reserved(turn=TURN, what="12 0 under a counter")
    assert "reservations are released" not in rules(held, stored=replace(STORED, status="running"))


def test_a_restart_after_a_workers_loss_is_no_violation() -> None:
    told: list[Event] = [
        Opened(at=1.0, view=1, turn=TURN),
        frame("1-1", "started"),
        frame("1-2", "delta", text=PIECES[0]),
        frame("2-1", "restarted"),
        frame("2-2", "started"),
        frame("2-3", "delta", text=OTHER),
        done("2-4", text=OTHER),
    ]
    transcript = replace(TRANSCRIPT, messages=(TRANSCRIPT.messages[0], (TURN, "assistant", "msg_2", OTHER)))
    assert check(history(*told, stored=replace(STORED, attempt=2, text=OTHER), transcript=transcript)) == []


def test_a_turn_told_afresh_from_its_document_is_no_violation() -> None:
    told: list[Event] = [
        Opened(at=1.0, view=1, turn=TURN),
        frame("1-1", "started"),
        frame("1-2", "delta", text=PIECES[0]),
        frame(None, "restarted"),
        frame(None, "delta", text=TEXT),
        done(),
    ]
    assert check(history(*told)) == []


@pytest.mark.parametrize(
    ("rule", "stored"),
    [
        ("accepted ⊆ stored", None),
        ("accepted ⊆ stored", replace(STORED, asked="(short) another")),
        ("every turn ends", replace(STORED, status="running")),
        ("no turn fails without cause", replace(STORED, status="failed", error="turn_failed")),
        ("no turn is cancelled unasked", replace(STORED, status="cancelled", text=PIECES[0])),
        ("stored text = model's text", replace(STORED, text=TEXT + PIECES[-1])),
        ("stored text = model's text", replace(STORED, text="".join(PIECES[:20]))),
        ("stored text = model's text", replace(STORED, text="".join(PIECES[:10]) + OTHER)),
        ("usage counted once", replace(STORED, usage={**USAGE, "completionTokens": 60})),
        ("transcript = stored turns", replace(STORED, text=OTHER)),
    ],
)
def test_a_wrong_document_is_found(rule: str, stored: Stored | None) -> None:
    assert rule in rules(stored=stored)


def test_a_message_that_is_stored_twice_is_found() -> None:
    assert "no message twice" in rules(replace(STORED, turn="trn_2", message_ids=("msg_3", "msg_4")))
    assert "no message twice" in rules(replace(STORED, turn="trn_2", asked="(short) another"))


def test_a_question_may_be_asked_again_after_a_passing_failure() -> None:
    failed = replace(
        STORED, turn="trn_0", status="failed", error="upstream_error", retryable=True, message_ids=("msg_0",)
    )
    assert "no message twice" not in rules(failed)


def swap(index: int, *frames: Frame) -> Callable[[list[Event]], list[Event]]:
    return lambda stream: [*stream[:index], *frames, *stream[index + 1 :]]


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        pytest.param("frames", swap(3), id="a hole"),
        pytest.param("frames", swap(4, frame("1-2", "delta", text="x")), id="an id that does not grow"),
        pytest.param("frames", swap(4, frame("1-3", "delta", text=PIECES[0])), id="a repeated text"),
        pytest.param(
            "frames", swap(4, frame("2-1", "restarted"), frame("1-3", "delta", text="x")), id="a dead attempt goes on"
        ),
        pytest.param("frames", swap(4, frame("2-1", "started")), id="an attempt that does not say restarted"),
        pytest.param("frames", swap(4, frame(None, "delta", text="x")), id="a delta without an id"),
        pytest.param("frames", swap(5, done(text=TEXT[:-1])), id="an end that says another text"),
        pytest.param("frames", swap(5, done(), frame("1-5", "delta", text="x")), id="a frame after the end"),
        pytest.param("client's end = stored end", swap(5, done("1-5")), id="an end under another id"),
        pytest.param(
            "client's end = stored end",
            swap(5, frame("1-4", "error", code="turn_failed")),
            id="an error for a stored answer",
        ),
    ],
)
def test_a_wrong_stream_is_found(rule: str, change: Callable[[list[Event]], list[Event]]) -> None:
    assert rule in rules(*change(good_stream()))


def test_one_id_with_two_bodies_is_found() -> None:
    other: list[Event] = [
        Opened(at=1.0, view=2, turn=TURN),
        frame("1-1", "started", view=2),
        frame("1-2", "delta", view=2, text=PIECES[0]),
    ]
    assert "one body per id" in rules(*good_stream(), *other)


def test_two_ends_of_one_turn_are_found() -> None:
    other: list[Event] = [*good_stream(view=2)[:5], frame("1-4", "error", view=2, code="turn_timeout")]
    assert "one terminal state" in rules(*good_stream(), *other)


def rerun(*faults: Injected) -> set[str]:
    told = [
        *good_stream()[:5],
        frame("2-1", "restarted", at=9.0),
        frame("2-2", "started", at=9.0),
        frame("2-3", "delta", at=10.0, text=OTHER),
        done("2-4", text=OTHER),
    ]
    transcript = replace(TRANSCRIPT, messages=(TRANSCRIPT.messages[0], (TURN, "assistant", "msg_2", OTHER)))
    return rules(*faults, *told, stored=replace(STORED, attempt=2, text=OTHER), transcript=transcript)


def test_a_finished_attempt_that_is_run_again_needs_a_fault_that_explains_it() -> None:
    killed = Injected(at=1.0, until=1.0, kind="kill worker", target="worker-1")
    assert rerun(killed) == set()
    assert rerun() == {"a finished attempt is not run again"}
    assert rerun(replace(killed, kind="kill history", target="history-1")) == {"a finished attempt is not run again"}


def test_an_answer_that_differs_from_the_document_is_found() -> None:
    answered = Answered(at=2.0, request=1, turn=TURN, status="completed", text=OTHER, usage=USAGE)
    assert "client's end = stored end" in rules(answered)


CHUNKS = Chunked(at=2.0, request=1, turn=TURN, text=TEXT, how="clean", finish="stop", done=True)


@pytest.mark.parametrize(
    ("rule", "chunks"),
    [
        ("no clean end on partial text", replace(CHUNKS, text="".join(PIECES[:9]))),
        ("no clean end on partial text", replace(CHUNKS, text="".join(PIECES[:9]), finish=None, done=False)),
        ("no clean end on partial text", replace(CHUNKS, error="turn_failed")),
        ("frames", replace(CHUNKS, text=PIECES[0] + OTHER, finish=None, done=False, how="cut")),
        ("usage counted once", replace(CHUNKS, usage={"completion_tokens": 60})),
    ],
)
def test_a_wrong_stream_of_chunks_is_found(rule: str, chunks: Chunked) -> None:
    assert rule in rules(chunks)


def test_streams_of_chunks_may_break_and_be_resumed() -> None:
    broken = replace(CHUNKS, text="".join(PIECES[:9]), finish=None, done=False, how="cut", error="turn_failed")
    resumed = replace(CHUNKS, before="".join(PIECES[:9]), text="".join(PIECES[9:]))
    assert rules(CHUNKS, broken, resumed) == set()


def test_an_unforeseen_refusal_and_a_turn_without_an_end_are_found() -> None:
    refused = Refused(at=1.0, request=1, status=503, code="dependency_unavailable")
    assert rules(refused) == set()
    assert "no unforeseen refusal" in rules(replace(refused, status=404, code="turn_not_found"))
    assert "no unforeseen refusal" in rules(replace(refused, status=500, code="internal_error"))
    assert "every turn ends" in rules(Overdue(at=90.0, request=1, turn=TURN, waited_s=60.0))


def test_a_link_between_a_worker_and_history_explains_no_restart() -> None:
    cut = Injected(at=1.0, until=8.0, kind="link black-hole", target="worker-1 to history-2")
    assert rerun(cut) == {"a finished attempt is not run again"}
    assert rerun(replace(cut, target="worker-1 to redis")) == set()


DELETION: tuple[Event, ...] = (Deleting(at=1.5, session=SESSION), Deleted(at=1.7, session=SESSION))


def gone(*told: Event) -> set[str]:
    """Rules broken where the turn was accepted, and is stored nowhere at the end."""
    return rules(*told, stored=None, transcript=None)


def test_only_the_turns_of_a_deleted_session_may_be_gone() -> None:
    assert gone(*good_stream(), *DELETION) == set()
    assert gone(*good_stream(), DELETION[0]) == set()
    assert "accepted ⊆ stored" in gone(*good_stream())
    assert "accepted ⊆ stored" in gone(
        *good_stream(), Deleting(at=1.5, session="ses_2"), Deleted(at=1.7, session="ses_2")
    )


def test_what_clients_saw_of_a_deleted_session_must_have_been_right_all_the_same() -> None:
    assert "frames" in gone(*swap(4, frame("1-4", "delta", text=PIECES[10]))(good_stream()), *DELETION)
    assert "frames" in gone(*swap(3, frame("1-2", "delta", text="x"))(good_stream()), *DELETION)


def test_a_stream_may_end_with_an_error_of_its_own_only_once_its_session_is_being_deleted() -> None:
    opened = Opened(at=1.0, view=1, turn=TURN, session=SESSION)
    cut_short: list[Event] = [opened, *good_stream()[1:4], frame(None, "error", at=1.8, code="turn_not_found")]
    assert gone(*DELETION, *cut_short) == set()
    assert "frames" in rules(*cut_short)
    assert "frames" in gone(*DELETION, *swap(4, frame(None, "error", at=1.2, code="turn_not_found"))(cut_short))


@pytest.mark.parametrize(
    "found",
    [
        Looked(at=2.0, session=SESSION, what="GET /messages", status=200),
        Looked(at=2.0, session=SESSION, what="DELETE", status=404),
        Remains(session=SESSION, what="the run log of trn_1"),
        Closed(at=14.0, view=1, how="cut"),
    ],
)
def test_a_deleted_session_that_is_still_there_is_found(found: Event) -> None:
    opened = Opened(at=1.0, view=1, turn=TURN, session=SESSION)
    assert (
        gone(
            opened,
            *DELETION,
            Looked(at=2.0, session=SESSION, what="GET /", status=404),
            Closed(at=3.0, view=1, how="clean"),
        )
        == set()
    )
    assert gone(opened, *DELETION, found) == {"deleted is gone"}


@pytest.mark.parametrize("what", ["the run log of trn_1", "text of the turn trn_1"])
def test_a_fail_over_soon_after_a_deletion_excuses_nothing_that_remains(what: str) -> None:
    fault = Injected(at=3.0, until=5.0, kind="fail-over redis", target="redis-2")
    assert "deleted is gone" in gone(*DELETION, fault, Remains(session=SESSION, what=what))


def test_a_refusal_may_say_what_the_client_had_wished_for() -> None:
    refused = Refused(at=2.0, request=1, status=404, code="session_not_found")
    ended = replace(refused, status=409, code="session_ended")
    assert gone(*DELETION, refused) == set()
    assert "no unforeseen refusal" in gone(*DELETION, replace(refused, at=1.0))
    assert rules(Ending(at=1.0, session=SESSION), ended) == set()
    assert "no unforeseen refusal" in rules(Ending(at=2.5, session=SESSION), ended)


def test_a_turn_whose_session_was_ended_may_be_cancelled() -> None:
    partial = replace(STORED, status="cancelled", text=PIECES[0], usage={})
    transcript = replace(TRANSCRIPT, messages=(TRANSCRIPT.messages[0], (TURN, "assistant", "msg_2", PIECES[0])))
    assert rules(Ending(at=1.0, session=SESSION), stored=partial, transcript=transcript) == set()


def test_in_a_rolling_restart_one_retry_is_enough() -> None:
    roll = Injected(at=1.0, until=60.0, kind="roll services", target="worker, history, gateway")
    once = Failed(at=2.0, asked="POST /chat/sessions", gateway="gateway-1", what="503", tries=1)
    assert rules(roll, once) == set()
    assert rules(roll, replace(once, tries=2)) == {"one retry is enough"}
    assert rules(roll, replace(roll, kind="kill redis"), replace(once, tries=2)) == set()


DOWN = Injected(at=1.0, until=9.0, kind="down redis 5 s", target="redis")
PROBE = Probed(at=2.0, kind=DOWN.kind, status=503, took_s=0.2, retry_after=True)
BACK = Recovered(at=9.0, kind=DOWN.kind, after_s=1.0)


@pytest.mark.parametrize(
    "told",
    [
        replace(PROBE, took_s=4.0),
        replace(PROBE, retry_after=False),
        replace(PROBE, status=0),
        replace(BACK, after_s=20.0),
    ],
)
def test_an_outage_that_is_not_told_at_once_or_lasts_too_long_is_found(told: Event) -> None:
    assert rules(DOWN, PROBE, replace(PROBE, status=202, retry_after=False), BACK) == set()
    assert rules(DOWN, told) == {"outages are told"}
    assert rules(DOWN, Injected(at=0.5, until=8.5, kind="kill gateway", target="gateway-1"), told) == set()


def test_on_a_slow_host_a_wait_may_be_longer_but_not_without_an_end() -> None:
    for after_s, found in ((20.0, set[str]()), (60.0, {"outages are told"})):
        told = history(DOWN, replace(BACK, after_s=after_s))
        assert {violation.rule for violation in check(told, slack=5.0)} == found


def test_no_outage_explains_an_unforeseen_answer() -> None:
    told = replace(PROBE, status=500)
    assert rules(DOWN, told) == {"no unforeseen refusal", "outages are told"}
    assert rules(DOWN, Injected(at=0.5, until=8.5, kind="kill gateway", target="gateway-1"), told) == {
        "no unforeseen refusal"
    }


def test_a_cancelled_turn_keeps_a_beginning_of_the_answer() -> None:
    partial = replace(STORED, status="cancelled", text=PIECES[0], usage={})
    transcript = replace(TRANSCRIPT, messages=(TRANSCRIPT.messages[0], (TURN, "assistant", "msg_2", PIECES[0])))
    assert rules(Cancelled(at=1.0, turn=TURN), stored=partial, transcript=transcript) == set()
