"""What must hold of every step of the protocol: the promises to clients that the chaos suite checks too."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final

from tests.model.state import ACTIVE, ENDED, Frame, State

# (state before, frames told to the client by the step, state after) → whether it holds
Invariant = Callable[[State, Sequence[Frame], State], bool]
TERMINAL: Final = ("done", "error")


def a_terminal_document_never_changes(before: State, _: Sequence[Frame], after: State) -> bool:
    return before.document.status == ACTIVE or after.document == before.document


def the_end_is_told_only_once_it_is_stored(before: State, told: Sequence[Frame], after: State) -> bool:
    tells = any(frame.event in TERMINAL for frame in (*told, *after.log[len(before.log) :]))
    return before.document.status != ACTIVE or not tells


def the_text_at_done_is_the_stored_text(_: State, told: Sequence[Frame], after: State) -> bool:
    return not told or told[-1].event != "done" or after.reader.text == after.document.text


def ids_told_only_grow(before: State, told: Sequence[Frame], _: State) -> bool:
    """So nothing of an attempt is shown after a later one's frame."""
    ids = [before.reader.at, *(frame.id for frame in told if frame.attempt)]
    return all(one < other for one, other in pairwise(ids))


def ids_told_have_no_hole(before: State, told: Sequence[Frame], _: State) -> bool:
    """Each is the next of its attempt, or a later attempt's first. After `restarted` without an id any may follow."""
    attempt, seq = before.reader.at
    for frame in told:
        if not frame.attempt:
            return told[0].event == "restarted"
        if frame.seq != (seq + 1 if frame.attempt == attempt else 1):
            return False
        attempt, seq = frame.id
    return True


def one_terminal_frame_is_told(before: State, told: Sequence[Frame], _: State) -> bool:
    """And it is the last."""
    return not told or (before.reader.step != ENDED and not any(frame.event in TERMINAL for frame in told[:-1]))


def the_log_is_in_order_and_whole(_: State, __: Sequence[Frame], after: State) -> bool:
    """Ids only grow. Within an attempt, only the terminal frame may follow a hole, which a flush has made."""
    attempt, seq = 0, 0
    for frame in after.log:
        if frame.id <= (attempt, seq):
            return False
        if frame.event not in TERMINAL and frame.seq != (seq + 1 if frame.attempt == attempt else 1):
            return False
        attempt, seq = frame.id
    return True


def an_attempt_belongs_to_one_worker(_: State, __: Sequence[Frame], after: State) -> bool:
    one, other = (worker.attempt for worker in after.workers)
    return not one or one != other


def a_claim_makes_one_attempt(before: State, _: Sequence[Frame], after: State) -> bool:
    """Or tries would be used up by lost answers, and a worker fenced by its own repeat."""
    return after.document.tries <= before.document.tries or after.document.claim != before.document.claim


def only_the_holder_may_make_an_attempt(before: State, _: Sequence[Frame], after: State) -> bool:
    """Or the late claim of a worker that lost its lease would fence the one that works."""
    approved = [request.claim for request in after.requests if request.holds and request not in before.requests]
    return all((before.queue.job, before.queue.holder) == ("leased", claim) for claim in approved)


def no_verdict_overrules_a_result(before: State, _: Sequence[Frame], after: State) -> bool:
    """A result that was in the outbox when history began to judge is stored."""
    falls = before.document.status == ACTIVE and after.verdict is not None and after.verdict.step == "written"
    return not (falls and after.verdict is not None and after.verdict.finished)


def a_result_is_not_run_again(before: State, _: Sequence[Frame], after: State) -> bool:
    """No job is made while the outbox holds the current attempt's result. A restart that lost it may make one."""
    made = before.queue.job == "no job" and after.queue.job != "no job" and before.queue.outbox == after.queue.outbox
    return (
        not made
        or all(entry.attempt != before.document.attempt for entry in before.queue.outbox)
        or before.document.status != ACTIVE
    )


def an_ended_turn_is_not_restored(before: State, _: Sequence[Frame], after: State) -> bool:
    """Or a worker would run on a turn whose end is published. Only restoring a lease makes a leased job out of none."""
    restored = before.queue.job == "no job" and after.queue.job == "leased"
    return not (restored and before.queue.ended)


# Under the part of the state that each is about: a step that leaves the part as it is cannot break them.
INVARIANTS: Final[dict[str, tuple[Invariant, ...]]] = {
    "document": (a_terminal_document_never_changes, a_claim_makes_one_attempt),
    "log": (the_log_is_in_order_and_whole, the_end_is_told_only_once_it_is_stored),
    "queue": (a_result_is_not_run_again, an_ended_turn_is_not_restored),
    "workers": (an_attempt_belongs_to_one_worker,),
    "requests": (only_the_holder_may_make_an_attempt,),
    "verdict": (no_verdict_overrules_a_result,),
    "reader": (
        the_text_at_done_is_the_stored_text,
        the_end_is_told_only_once_it_is_stored,
        ids_told_only_grow,
        ids_told_have_no_hole,
        one_terminal_frame_is_told,
    ),
}
