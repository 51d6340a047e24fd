"""What checks must satisfy before they are stored: schema, size, patterns, and a judge for rubrics. Pure."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, Final

import orjson
from pydantic import ValidationError

from services.history.checks.patterns import BadPattern, checked_pattern
from shared.contracts.checks import CheckSuite
from shared.contracts.errors import ApiError, Code

MAX_SUITE: Final = 256 << 10
MAX_FAULTS: Final = 20

Fault = dict[str, str]


def checked_suite(suite: dict[str, Any], *, has_judge: bool) -> CheckSuite:
    """Raises `payload_too_large` above 256 KiB, and `validation_failed` with each fault's place and what to change."""
    size = len(orjson.dumps(suite))
    if size > MAX_SUITE:
        raise ApiError(Code.PAYLOAD_TOO_LARGE, f"The checks are {size} bytes long; at most {MAX_SUITE} are allowed.")
    try:
        checked = CheckSuite.model_validate(suite, extra="forbid")
    except ValidationError as error:
        faults = [_fault(fault) for fault in error.errors(include_input=False)[:MAX_FAULTS]]
        raise ApiError(Code.VALIDATION_FAILED, errors=faults) from None
    if faults := [*_faults(checked, has_judge=has_judge)]:
        raise ApiError(Code.VALIDATION_FAILED, errors=faults[:MAX_FAULTS])
    return checked


def _fault(fault: Any) -> Fault:
    field = ".".join(str(part) for part in fault["loc"]) or "checks"
    if fault["type"] != "extra_forbidden":
        return {"field": field, "message": fault["msg"].removeprefix("Value error, ")}
    nearest = get_close_matches(str(fault["loc"][-1]), _known_names(), n=1)
    return {"field": field, "message": "is not a known member." + (f" Did you mean {nearest[0]}?" if nearest else "")}


def _known_names() -> list[str]:
    schema = CheckSuite.model_json_schema(by_alias=True)
    names = set(schema["properties"])
    for definition in schema.get("$defs", {}).values():
        names |= set(definition.get("properties", ()))
    return sorted(names)


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
