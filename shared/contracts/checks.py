"""Checks: tests of an agent. What an author writes, and what a run of them answers.

In `agent.yaml` the member `checks` is a list of Check; it maps to `PUT /agents/{id}/checks` with `{"checks": [...]}`:

    checks:
      - name: opening hours
        steps:
          - user: When are you open on Sunday?
            expect:
              - contains: "11"
              - passageRetrieved: {title: Opening hours}
              - toolCalled: {name: find_table, arguments: {day: sunday}}
              - rubric: The answer is friendly and offers a table.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from shared.contracts.schema import Schema, Time
from shared.contracts.turns import FinishReason

CheckState = Literal["waiting", "running", "passed", "failed"]
RunState = Literal["running", "passed", "failed"]
Text = Annotated[str, Field(min_length=1, max_length=2000)]


class ExpectedCall(Schema):
    """A call of this tool. Its arguments contain `arguments`: more members than these may be there."""

    name: str = Field(min_length=1, max_length=64)
    arguments: dict[str, Any] = Field(default_factory=dict)


class ExpectedPassage(Schema):
    """A passage to which all of this applies. `title` and `contains` ignore case and may be a part of it.

    The turn keeps no text of passages that the model itself has searched for: for them give `title` or `source_id`.
    """

    source_id: str | None = Field(default=None, min_length=1, max_length=200)
    title: str | None = Field(default=None, min_length=1, max_length=500)
    contains: Text | None = None

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if self.source_id is None and self.title is None and self.contains is None:
            raise ValueError("needs sourceId, title or contains")
        return self


class Expectation(Schema):
    """One thing that must hold after a step; exactly one member is given.

    `contains` and `does_not_contain` ignore case and compare with the whole answer of the step. `matches` is a regular
    expression in RE2's syntax (no backreferences), which may match anywhere in the answer. `guardrail_acted` names a
    guardrail that blocked or replaced something. `max_latency_ms` is from admission to the end of the turn;
    `max_tokens` counts the turn's prompt and completion tokens. `rubric` is a sentence that the operator's judge model
    finds true or false.
    """

    contains: Text | None = None
    does_not_contain: Text | None = None
    matches: str | None = Field(default=None, min_length=1, max_length=1000)
    tool_called: ExpectedCall | None = None
    tool_not_called: str | None = Field(default=None, min_length=1, max_length=64)
    passage_retrieved: ExpectedPassage | None = None
    passage_cited: ExpectedPassage | None = None
    finish_reason: FinishReason | None = None
    guardrail_acted: str | None = Field(default=None, min_length=1, max_length=64)
    guardrail_not_acted: str | None = Field(default=None, min_length=1, max_length=64)
    max_latency_ms: int | None = Field(default=None, ge=1, le=3_600_000)
    max_tokens: int | None = Field(default=None, ge=1, le=10_000_000)
    rubric: Text | None = None

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        if len(self.wire()) != 1:
            known = ", ".join(sorted(field.alias or name for name, field in type(self).model_fields.items()))
            raise ValueError(f"an expectation has exactly one of {known}")
        return self

    @property
    def kind(self) -> str:
        """The name of its one member, as it goes over the wire."""
        return next(iter(self.wire()))


class CheckStep(Schema):
    """One user message, and what must hold once it is answered."""

    user: str = Field(min_length=1, max_length=20_000, pattern=r"\S")
    expect: tuple[Expectation, ...] = Field(default=(), max_length=20)


class Check(Schema):
    """A conversation with expectations. It ends at the first step that fails.

    `timeout_s` bounds the whole check, from its first turn's admission. `max_tokens` is its budget: once its turns have
    used more, it fails and no further turn starts. `metadata` are the session's values of the agent's `{{variables}}`.
    """

    name: str = Field(min_length=1, max_length=100, pattern=r"^\S(.*\S)?$")
    steps: tuple[CheckStep, ...] = Field(min_length=1, max_length=20)
    timeout_s: float = Field(default=120.0, gt=0, le=3600)
    max_tokens: int | None = Field(default=None, ge=1, le=10_000_000)
    metadata: dict[str, str] = Field(default_factory=dict, max_length=16)


class CheckSuite(Schema):
    """All checks of an agent, as `PUT /agents/{id}/checks` replaces them."""

    checks: tuple[Check, ...] = Field(max_length=100)

    @model_validator(mode="after")
    def _checks_have_names_of_their_own(self) -> Self:
        names = [check.name for check in self.checks]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two checks have the name {name!r}")
        return self


class StoredChecks(CheckSuite):
    """The checks as `GET /agents/{id}/checks` shows them. `revision` counts their changes, from 0."""

    revision: int = 0
    updated_at: Time | None = None


class PutChecks(Schema):
    """An order to replace the checks with `suite`. `revision`: the one that the author saw, None for any."""

    suite: dict[str, Any]
    revision: int | None = None
    actor: str | None = None


class RunChecks(Schema):
    """An order to run the checks. `version` 0 is the draft. A repeat with the same `key` is the same run."""

    version: int = Field(ge=0)
    key: str | None = None
    actor: str | None = None


class Failure(Schema):
    """Why a check failed. `expectation` is the member's name in Expectation, None for a fault of the step itself."""

    step: int = Field(description="the number of the step, from 1")
    expectation: str | None = None
    message: str


class StepResult(Schema):
    """What a step's turn answered. `answer` is cut after 4,000 characters."""

    turn_id: str
    answer: str = ""
    tool_calls: tuple[str, ...] = ()
    latency_ms: int = 0
    tokens: int = 0


class CheckResult(Schema):
    """One check of a run. `before`: how it ended in the run that this one is compared with."""

    name: str
    state: CheckState = "waiting"
    steps: tuple[StepResult, ...] = ()
    failures: tuple[Failure, ...] = ()
    before: Literal["passed", "failed"] | None = None


class CheckRun(Schema):
    """A run of all checks against one version. Its number is 0 for the draft.

    `compared_with` is the version of the last ended run of an earlier version (for the draft: of the newest version).
    `results` are None in lists. A run passes when every check passes.
    """

    id: str
    agent_id: str
    version: int
    state: RunState
    total: int = 0
    passed: int = 0
    failed: int = 0
    results: tuple[CheckResult, ...] | None = None
    compared_with: int | None = None
    created_by: str | None = None
    created_at: Time
    ended_at: Time | None = None
