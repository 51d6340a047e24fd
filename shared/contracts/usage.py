"""Usage as it is told: tokens and cost of ended turns, and the names by which they are grouped."""

from datetime import date
from typing import Final, Literal

from pydantic import Field

from shared.contracts.schema import Schema
from shared.contracts.turns import Usage

Grouping = Literal["agent", "key", "model", "day"]
GROUPINGS: Final[tuple[Grouping, ...]] = ("agent", "key", "model", "day")
# Costs are whole billionths of the currency, so that sums are exact.
NANO: Final = 1_000_000_000
MAX_DAYS: Final = 366


class UsageQuery(Schema):
    """`first` and `last` are days (UTC), both included."""

    group_by: Grouping
    first: date
    last: date
    agent_id: str | None = None
    key_id: str | None = None
    end_user: str | None = None


class UsageRow(Schema):
    """The sum of one group. Turns of checks are in none."""

    group: str | None = Field(
        description="the agent's id, the key's id, `<upstream>/<model>` or the day; null: turns without one"
    )
    turns: int = Field(
        description="turns that ended; grouped by model, a turn that asked two models counts for the first"
    )
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int = Field(description="of the prompt's tokens, those that the upstream had cached")
    reasoning_tokens: int = Field(description="of the answers' tokens, those of reasoning")
    estimated_tokens: int = Field(description="of all tokens, those that no upstream reported: they are estimated")
    cost: float | None = Field(
        description="by the price table at the time of each turn; null: the prices of all these tokens are unknown"
    )
    unpriced_tokens: int = Field(description="tokens whose model had no price; `cost` is without them")
    currency: str


class UsagePending(Schema):
    """Ended turns that no sum has yet. Without members: counting them took too long."""

    turns: int | None = Field(default=None, description="how many, counted up to 10,000")
    exact_before: date | None = Field(
        default=None, description="all of them ended on this day (UTC) or later: earlier days are exact"
    )


class UsagePage(Schema):
    """`pending` None: the sums have every turn that had ended when they were asked for."""

    rows: tuple[UsageRow, ...]
    pending: UsagePending | None = None


def cost_shown(nano: int) -> float:
    return nano / NANO


def tokens_of(usage: Usage) -> int:
    """Prompt and answer. An upstream's own total may count something else, so it is not used."""
    return usage.prompt_tokens + usage.completion_tokens
