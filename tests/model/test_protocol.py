"""The protocol keeps its promises in every run with two faults, and each of its rules is needed for that."""

import pytest

from tests.model.explorer import Found, explore
from tests.model.protocol import PROTOCOL
from tests.model.reader import READING_ON
from tests.model.state import CANCELLED, COMPLETED, FAILED, Rules
from tests.model.trouble import TROUBLE

FAULTS = 2


@pytest.fixture(scope="module")
def whole() -> Found:
    return explore(FAULTS)


def test_every_run_keeps_every_promise_and_can_still_end(whole: Found) -> None:
    assert whole.broken is None, str(whole)


def test_the_runs_reach_everything_that_the_table_allows(whole: Found) -> None:
    """A guard that never opens would prove nothing."""
    assert {action.__name__ for action in (*PROTOCOL, *READING_ON, *TROUBLE)} == whole.happened
    assert {(COMPLETED, 1), (COMPLETED, 2), (CANCELLED, 1), (CANCELLED, 2), (FAILED, 1), (FAILED, 3)} <= whole.ends


@pytest.mark.parametrize(
    ("rule", "promise"),
    [
        ("log_fence", "the_log_is_in_order_and_whole"),
        ("document_fence", "ids_told_only_grow"),
        ("reread", "ids_told_have_no_hole"),
        ("drain", "no_verdict_overrules_a_result"),
        ("drain_after_read", "no_verdict_overrules_a_result"),
        ("claim_once", "a_claim_makes_one_attempt"),
        ("snapshot_once", "every_accepted_turn_can_still_end"),
        ("claim_needs_lease", "only_the_holder_may_make_an_attempt"),
        ("prove_each", "the_text_at_done_is_the_stored_text"),
        ("ended_mark", "an_ended_turn_is_not_restored"),
        ("retell", "the_text_at_done_is_the_stored_text"),
    ],
)
def test_without_the_rule_a_promise_is_broken(rule: str, promise: str) -> None:
    found = explore(FAULTS, Rules(**{rule: False}))
    print(f"without {rule}: {found}")
    assert found.broken == promise, str(found)


def test_a_turn_without_faults_completes_at_its_first_attempt() -> None:
    assert explore(0).ends == {(COMPLETED, 1)}
