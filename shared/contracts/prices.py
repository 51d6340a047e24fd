"""The price table: what a million tokens of each upstream model cost."""

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.turns import Usage

# A price per million tokens is as many millionths per token, and a thousand times as many billionths.
_NANO_PER_TOKEN: Final = 1000.0
Price = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]


class ModelPrices(BaseModel):
    """Per million tokens. `cached` None: tokens of the prompt that the upstream had cached cost as much as others."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: Price
    output: Price
    cached: Price | None = None

    def cost_nano(self, usage: Usage) -> int:
        """In billionths of the currency, rounded once per call of this."""
        cached = min(usage.cached_tokens or 0, usage.prompt_tokens)
        dear = (usage.prompt_tokens - cached) * self.input + usage.completion_tokens * self.output
        return round((dear + cached * (self.input if self.cached is None else self.cached)) * _NANO_PER_TOKEN)


class PriceTable(BaseModel):
    """`models` are named `<upstream>/<model>`. A model without an entry has no price: its cost is unknown, not zero."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    currency: str = Field(default="USD", pattern="^[A-Z]{3}$")
    models: dict[str, ModelPrices] = Field(default_factory=dict)

    def cost_nano(self, upstream: str, model: str, usage: Usage) -> int | None:
        prices = self.models.get(f"{upstream}/{model}")
        return prices.cost_nano(usage) if prices is not None else None
