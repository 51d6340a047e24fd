"""Pure: counters by their names in Redis, and the refusal that a used-up one gives.

`lua/counters.lua` says what a counter holds.
"""

import hashlib
import math
from datetime import UTC, datetime
from typing import Final, NamedTuple

from shared.budgets.periods import Period
from shared.contracts.budgets import SUBJECTS, Subject, SubjectKind
from shared.contracts.errors import ApiError, Code
from shared.contracts.schema import rfc3339

PREFIX: Final = "parley:budgets"
# Hash: turn id -> its estimate and its counters, as JSON, from its admission until it is charged.
LINES: Final = f"{PREFIX}:lines"
# A counter outlives its period by this, so that turns that end late still find it.
KEPT_S: Final = 86_400
_WORDS: Final[dict[SubjectKind, str]] = {
    "workspace": "workspace",
    "agent": "agent",
    "key": "API key",
    "endUser": "end user",
}


class Counter(NamedTuple):
    """`source` tells two budgets of one subject apart: `budget`, or `record` for a limit of the key's own record."""

    workspace: str
    subject: Subject
    source: str
    period: Period

    @property
    def key(self) -> str:
        """Ids of end users may hold any character, so every id is hashed."""
        kind, name = self.subject
        digest = hashlib.sha256(name.encode()).hexdigest()[:32]
        return f"{PREFIX}:{self.workspace}:{kind}:{self.source}:{digest}:{self.period.name}"

    @property
    def expires_at(self) -> int:
        return int(self.period.end.timestamp()) + KEPT_S


def refusal_of(key: str, now: datetime | None = None) -> ApiError:
    """The error of a turn that a used-up counter refuses. `key`: the counter's name in Redis."""
    parts = key.split(":")
    period = Period.named(parts[-1])
    kind: SubjectKind = next((kind for kind in SUBJECTS if kind == parts[3]), "workspace")
    resets_at = period.end
    left_s = (resets_at - (now or datetime.now(UTC))).total_seconds()
    detail = (
        f"The budget of this {_WORDS[kind]} for the {period.kind} {period.name} is used up. The next {period.kind} "
        f"begins at {rfc3339(resets_at)}."
    )
    return ApiError(
        Code.BUDGET_EXCEEDED,
        detail,
        members={"budget": {"subject": kind, "period": period.kind}, "resetsAt": rfc3339(resets_at)},
        headers={"Retry-After": str(max(1, math.ceil(left_s)))},
    )
