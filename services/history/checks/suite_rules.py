"""What checks must satisfy before they are stored: schema, size, patterns, and a judge for rubrics. Pure."""

from collections.abc import Iterator
from typing import Any, Final

import orjson
from pydantic import ValidationError

from services.history.document_faults import MAX_FAULTS, Fault, faults_of
from shared.contracts.checks import CheckSuite
from shared.contracts.errors import ApiError, Code
from shared.patterns import BadPattern, checked_pattern

MAX_SUITE: Final = 256 << 10


def checked_suite(suite: dict[str, Any], *, has_judge: bool) -> CheckSuite:
    """Raises `payload_too_large` above 256 KiB, and `validation_failed` with each fault's place and what to change."""
    size = len(orjson.dumps(suite))
    if size > MAX_SUITE:
        raise ApiError(Code.PAYLOAD_TOO_LARGE, f"The checks are {size} bytes long; at most {MAX_SUITE} are allowed.")
    try:
        checked = CheckSuite.model_validate(suite, extra="forbid")
    except ValidationError as error:
        faults = faults_of(error, CheckSuite, whole="checks")
        raise ApiError(Code.VALIDATION_FAILED, errors=faults) from None
    if faults := [*_faults(checked, has_judge=has_judge)]:
        raise ApiError(Code.VALIDATION_FAILED, errors=faults[:MAX_FAULTS])
    return checked


def _faults(suite: CheckSuite, *, has_judge: bool) -> Iterator[Fault]:
    for i, check in enumerate(suite.checks):
        for j, step in enumerate(check.steps):
            for k, expectation in enumerate(step.expect):
                field = f"checks.{i}.steps.{j}.expect.{k}.{expectation.kind}"
                if expectation.matches is not None:
                    try:
                        checked_pattern(expectation.matches)
                    except BadPattern as error:
                        yield {"field": field, "message": f"is not a regular expression in RE2's syntax: {error}"}
                if expectation.rubric is not None and not has_judge:
                    yield {"field": field, "message": "needs a judge: this server has no PARLEY_CHECKS_JUDGE_MODEL."}
