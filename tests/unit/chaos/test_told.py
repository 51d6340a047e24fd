"""The chaos rules that compare a webhook's events with the sessions and turns that are stored."""

from collections.abc import Sequence
from dataclasses import replace

from tests.system.chaos.events import Kept, Stored, Told, Untold
from tests.system.chaos.told import LATE, LOST, ONE_ID, ORDER, SIGNED, TRUE, told_faults

FIRST = Stored(
    turn="trn_1",
    session="ses_1",
    key=None,
    status="completed",
    attempt=1,
    asked="why?",
    text="so",
    message_ids=(),
    last_seq=3,
    usage={},
    n=1,
)
SECOND = replace(FIRST, turn="trn_2", status="failed", n=2)
CREATED = Told(at=0.0, event="evt_1", type="session.created", session="ses_1", turn="", status="active", verified=True)
TURN_1 = replace(CREATED, event="evt_2", type="turn.completed", turn="trn_1", status="completed")
TURN_2 = replace(CREATED, event="evt_3", type="turn.failed", turn="trn_2", status="failed")
ENDED = replace(CREATED, event="evt_4", type="session.ended", status="ended")
ALL = (CREATED, TURN_1, TURN_2, ENDED)


def rules(told: Sequence[Told], *untold: Untold) -> list[str]:
    kept = [Kept(session="ses_1", status="ended")]
    return [fault.rule for fault in told_faults(kept, [FIRST, SECOND], told, untold)]


def test_events_in_order_may_be_repeated_at_any_time() -> None:
    assert rules(ALL) == []
    assert rules((CREATED, TURN_1, CREATED, TURN_2, TURN_1, ENDED, CREATED)) == []


def test_each_event_that_was_never_told_is_found() -> None:
    for missing in ALL:
        assert rules([each for each in ALL if each is not missing]) == [LOST]


def test_an_event_that_still_waits_is_late_and_not_lost() -> None:
    assert rules(ALL[:2], Untold(subject="trn_2"), Untold(subject="ses_1")) == [LATE, LATE]


def test_events_out_of_order_are_found() -> None:
    for told in ((TURN_1, CREATED, TURN_2, ENDED), (CREATED, TURN_2, TURN_1, ENDED), (CREATED, ENDED, TURN_1, TURN_2)):
        assert rules(told) == [ORDER]


def test_an_event_under_two_ids_is_found() -> None:
    assert rules((CREATED, TURN_1, replace(TURN_1, event="evt_9"), TURN_2, ENDED)) == [ONE_ID]


def test_an_event_without_a_valid_signature_is_found() -> None:
    assert rules((CREATED, replace(TURN_1, verified=False), TURN_2, ENDED)) == [SIGNED]


def test_an_event_that_tells_another_end_than_the_stored_one_is_found() -> None:
    assert rules((CREATED, replace(TURN_1, status="cancelled"), TURN_2, ENDED)) == [TRUE]
    assert TRUE in rules((CREATED, TURN_1, replace(TURN_2, type="turn.completed", status="completed"), ENDED))


def test_events_of_completions_have_no_order() -> None:
    alone = replace(FIRST, session="", n=0)
    told = [replace(TURN_1, session="", event=f"evt_{number}", turn=f"trn_{number}") for number in (2, 1)]
    stored = [alone, replace(alone, turn="trn_2")]
    assert list(told_faults([], stored, told, [])) == []
