"""Budgets: how many tokens, and how much money, one subject may use per day and per month (UTC)."""

from typing import Annotated, Final, Literal, NamedTuple

from pydantic import ConfigDict, Field, field_validator, model_validator

from shared.contracts.schema import PublicRequest, Schema, Time
from shared.contracts.usage import UsagePending

SubjectKind = Literal["workspace", "agent", "key", "endUser"]
SUBJECTS: Final[tuple[SubjectKind, ...]] = ("workspace", "agent", "key", "endUser")
MAX_TOKENS: Final = 1_000_000_000_000
MAX_COST: Final = 1_000_000.0
# What is counted of a cost, so a smaller one would become 0.
MIN_COST: Final = 1e-9
MAX_SUBJECT: Final = 300

Tokens = Annotated[int, Field(ge=0, le=MAX_TOKENS)]
Cost = Annotated[float, Field(ge=0, le=MAX_COST, allow_inf_nan=False)]


class Subject(NamedTuple):
    """Whose budget it is. A workspace's has no id."""

    kind: SubjectKind
    id: str = ""

    @property
    def text(self) -> str:
        """`workspace`, `agent:agt_…`, `key:key_…` or `endUser:…`."""
        return self.kind if self.kind == "workspace" else f"{self.kind}:{self.id}"


def subject_of(text: str) -> Subject | None:
    """None: it names no subject."""
    kind, _, name = text.partition(":")
    for known in SUBJECTS:
        if known == kind and len(text) <= MAX_SUBJECT and (text == "workspace" or (known != "workspace" and name)):
            return Subject(known, name)
    return None


class Allowance(Schema):
    """Of one period. None: no limit. 0 refuses every turn."""

    tokens: Tokens | None = Field(default=None, description="prompt and answer together")
    cost: Cost | None = Field(default=None, description="in the price table's currency")

    @property
    def is_limit(self) -> bool:
        return self.tokens is not None or self.cost is not None


class GivenAllowance(Allowance):
    """Of one period, as a client gives it: a member that is misspelt must not become a limit that is missing."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @field_validator("cost")
    @classmethod
    def _is_counted(cls, cost: float | None) -> float | None:
        if cost is not None and 0 < cost < MIN_COST:
            raise ValueError("must be at least 0.000000001, or 0 to refuse every turn")
        return cost


class BudgetLimits(Schema):
    day: Allowance | None = None
    month: Allowance | None = None


class PutBudget(PublicRequest):
    """The whole budget: a period that is left out has no limit."""

    day: GivenAllowance | None = None
    month: GivenAllowance | None = None

    @model_validator(mode="after")
    def _limits_something(self) -> "PutBudget":
        if not any(each is not None and each.is_limit for each in (self.day, self.month)):
            raise ValueError("must limit tokens or cost, per day or per month")
        return self


class StoreBudget(BudgetLimits):
    actor: str | None = None


class PeriodUse(Allowance):
    """What one period's limits are, and what of them is used."""

    used_tokens: int
    used_cost: float = Field(description="without the tokens whose prices are unknown")
    unpriced_tokens: int
    exceeded: bool = Field(description="turns are refused until `resetsAt`, or until the limit is raised")
    resets_at: Time


class Budget(Schema):
    subject: str = Field(description="`workspace`, `agent:<id>`, `key:<id>` or `endUser:<id>`")
    day: PeriodUse | None = None
    month: PeriodUse | None = None
    currency: str
    pending: UsagePending | None = Field(
        default=None, description="ended turns that the sums lack, as after an outage; turns are refused by all use"
    )
    updated_at: Time
