"""How a check goes on: started, step after step, rubric after rubric, to its end. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from services.history.checks.evaluation import failures_of, step_result
from services.history.checks.judge import verdict
from services.history.checks.run_record import Progress, RunRecord, turn_id
from shared.contracts.checks import Check, Failure
from shared.contracts.turns import StoredTurn


class Decision(NamedTuple):
    """What a run is next, and the turns that have no reader any more."""

    progress: tuple[Progress, ...]
    cancel: tuple[str, ...]


def decide(
    run: RunRecord, ended: Mapping[str, StoredTurn], now: datetime, *, room: int, problem: str | None
) -> Decision:
    """`ended` has the turns of the run that have ended, by id. `room`: how many turns more may run now.

    `problem` ends every check that has not ended, with this message.
    """
    progress: list[Progress] = []
    for place, (check, current) in enumerate(zip(run.checks(), run.progress, strict=True)):
        later = _advanced(run.id, place, check, current, ended, now, problem)
        if later.state == "waiting" and room > 0:
            later = later.model_copy(
                update={"state": "running", "started_at": now, "turn_id": turn_id(run.id, place, 0, None)}
            )
            room -= 1
        progress.append(later)
    dropped = [
        before.turn_id
        for before, after in zip(run.progress, progress, strict=True)
        if before.turn_id is not None and before.turn_id not in ended and after.turn_id != before.turn_id
    ]
    return Decision(tuple(progress), tuple(dropped))


def _advanced(
    run_id: str,
    place: int,
    check: Check,
    current: Progress,
    ended: Mapping[str, StoredTurn],
    now: datetime,
    problem: str | None,
) -> Progress:
    if current.state in ("passed", "failed"):
        return current
    if problem is not None:
        return failed(current, problem)
    if current.state == "waiting" or current.turn_id is None:
        return current
    stored = ended.get(current.turn_id)
    if stored is None:
        is_late = current.started_at is not None and (now - current.started_at).total_seconds() > check.timeout_s
        return failed(current, f"The check did not end within {check.timeout_s:g} s.") if is_late else current
    if current.judging is not None:
        return _after_judgement(run_id, place, check, current, stored)
    return _after_step(run_id, place, check, current, stored)


def _after_step(run_id: str, place: int, check: Check, current: Progress, stored: StoredTurn) -> Progress:
    step, result = check.steps[len(current.steps)], step_result(stored)
    number, tokens = len(current.steps) + 1, current.tokens + result.tokens
    failures = [*failures_of(step, number, stored)]
    if check.max_tokens is not None and tokens > check.max_tokens:
        message = f"The check has used {tokens} tokens; its budget is {check.max_tokens}."
        failures.append(Failure(step=number, message=message))
    answered = current.model_copy(update={"steps": (*current.steps, result), "tokens": tokens})
    if failures:
        return _ended(answered, failures)
    return _continued(run_id, place, check, answered, first_rubric=0)


def _after_judgement(run_id: str, place: int, check: Check, current: Progress, stored: StoredTurn) -> Progress:
    number, judged = len(current.steps), current.judging or 0
    rubric = check.steps[number - 1].expect[judged].rubric or ""
    if (reason := verdict(rubric, stored)) is not None:
        return _ended(current, [Failure(step=number, expectation="rubric", message=reason)])
    return _continued(run_id, place, check, current, first_rubric=judged + 1)


def _continued(run_id: str, place: int, check: Check, current: Progress, *, first_rubric: int) -> Progress:
    """The next rubric of the answered step, the next step, or the end."""
    number = len(current.steps)
    for judging in range(first_rubric, len(check.steps[number - 1].expect)):
        if check.steps[number - 1].expect[judging].rubric is not None:
            update = {"judging": judging, "turn_id": turn_id(run_id, place, number - 1, judging)}
            return current.model_copy(update=update)
    if number < len(check.steps):
        return current.model_copy(update={"judging": None, "turn_id": turn_id(run_id, place, number, None)})
    return _ended(current, [])


def failed(current: Progress, message: str) -> Progress:
    """Ended by something else than an expectation."""
    number = len(current.steps) + (0 if current.judging is not None else 1)
    return _ended(current, [Failure(step=number, message=message)])


def _ended(current: Progress, failures: Sequence[Failure]) -> Progress:
    state = "failed" if failures else "passed"
    return current.model_copy(
        update={"state": state, "failures": tuple(failures), "turn_id": None, "judging": None, "started_at": None}
    )
