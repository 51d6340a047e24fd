"""The document of a run, and the ids of the turns that it makes. Pure."""

import hashlib
from datetime import datetime
from typing import Final

import orjson
from pydantic import Field

from services.history.mongo.filters import Document
from shared.contracts.checks import Check, CheckResult, CheckRun, CheckSuite, RunState
from shared.contracts.schema import Schema, Time
from shared.ids import id_at, time_of

# The random digits of an id.
RANDOM: Final = 16
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"


class Progress(CheckResult):
    """A check of a run, with what is needed to go on. `turn_id` is the turn that runs for it.

    `judging` is the place of the rubric in the last answered step that this turn judges; None: the turn answers the
    step after the last answered one. `tokens` are those of the check's own turns.
    """

    started_at: Time | None = None
    turn_id: str | None = None
    judging: int | None = None
    tokens: int = 0

    def result(self) -> CheckResult:
        return CheckResult(name=self.name, state=self.state, steps=self.steps, failures=self.failures)


class RunRecord(Schema):
    """A document of the collection `check_runs`. `seq` counts its changes, and each change names the one before.

    `suite` holds the checks as they were when the run began, as JSON text. `draft_digest` is the draft that is checked.
    """

    id: str = Field(alias="_id")
    workspace: str
    agent_id: str
    version: int
    draft_digest: str | None = None
    state: RunState
    seq: int = 0
    suite: str
    progress: tuple[Progress, ...]
    created_by: str | None = None
    created_at: datetime
    ended_at: datetime | None = None

    def checks(self) -> tuple[Check, ...]:
        return CheckSuite.model_validate(orjson.loads(self.suite)).checks

    def shown(self, *, results: bool = True) -> CheckRun:
        return CheckRun(
            id=self.id,
            agent_id=self.agent_id,
            version=self.version,
            state=self.state,
            total=len(self.progress),
            passed=sum(check.state == "passed" for check in self.progress),
            failed=sum(check.state == "failed" for check in self.progress),
            results=tuple(check.result() for check in self.progress) if results else None,
            created_by=self.created_by,
            created_at=self.created_at,
            ended_at=self.ended_at,
        )


def run_of(row: Document) -> RunRecord:
    return RunRecord.model_validate(row)


def turn_id(run_id: str, check: int, step: int, judging: int | None) -> str:
    """The same at every look: a repeat finds its own turn instead of making a second one."""
    return _derived("trn", run_id, f"{check}:{step}:{'' if judging is None else judging}")


def session_id(run_id: str, check: int) -> str:
    return _derived("ses", run_id, str(check))


def _derived(prefix: str, run_id: str, name: str) -> str:
    number = int.from_bytes(hashlib.sha256(f"{run_id}:{name}".encode()).digest()[:10])
    digits = "".join(_ALPHABET[number >> shift & 31] for shift in range(75, -1, -5))
    return id_at(prefix, time_of(run_id))[:-RANDOM] + digits


def digest_of(draft: str) -> str:
    return hashlib.sha256(draft.encode()).hexdigest()
