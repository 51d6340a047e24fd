"""The chaos rule that compares usage with the turns and with the book of the model."""

from dataclasses import replace

from tests.system.chaos.bill import bill_faults
from tests.system.chaos.events import Billed, Counted, Stored

TURN = Stored(
    turn="trn_1",
    session="ses_1",
    key=None,
    status="completed",
    attempt=2,
    asked="why?",
    text="so",
    message_ids=(),
    last_seq=3,
    usage={"totalTokens": 30},
    used=30,
    estimated=12,
)
PAGE = Billed(asked="why?", whole_calls=1, whole_tokens=30, cut_calls=1, cut_tokens=14)
USAGE = Counted(turns=1, used=30, estimated=12, erased=0)


def faults(turn: Stored = TURN, page: Billed = PAGE, usage: Counted = USAGE, *more: Billed) -> list[str]:
    return [fault.seen for fault in bill_faults([turn], [page, *more], usage)]


def test_usage_that_agrees_with_turns_and_book_has_no_fault() -> None:
    assert faults() == []


def test_tokens_that_the_ledger_has_twice_or_not_at_all_are_found() -> None:
    for usage in (
        replace(USAGE, used=60),
        replace(USAGE, used=0),
        replace(USAGE, estimated=24),
        replace(USAGE, turns=0),
    ):
        assert len(faults(usage=usage)) == 1


def test_an_erased_turn_counts_at_least_its_last_attempt_and_at_most_its_bill() -> None:
    erased = Billed(asked="gone?", whole_calls=2, whole_tokens=50, cut_calls=0, cut_tokens=0)
    for used, count in ((54, 1), (55, 0), (80, 0), (81, 1)):
        assert len(faults(TURN, PAGE, replace(USAGE, used=used, erased=25), erased)) == count, used


def test_more_than_the_model_billed_is_found() -> None:
    assert faults(replace(TURN, used=60), usage=replace(USAGE, used=60)) == [
        "60 tokens are counted for 'why?', the model billed 30"
    ]


def test_an_attempt_of_which_nothing_is_known_is_found() -> None:
    assert faults(replace(TURN, untold=(1,))) == ["nothing is counted of its attempts (1,)"]


def test_an_answer_that_was_not_billed_is_found() -> None:
    assert len(faults(replace(TURN, used=0), usage=replace(USAGE, used=0))) == 1
