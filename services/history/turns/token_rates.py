"""How far the estimate of tokens is off for each model, learned from the usage that models report.

In memory only: a process that starts anew estimates by the general rate until the first turns have ended.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from cachetools import LRUCache

from shared.contracts.agents import AgentConfig
from shared.contracts.turns import Usage
from shared.tokens import estimated_tokens

MODELS: Final = 1000
LEAST, MOST = 0.3, 3.0
# Shorter answers say more of what surrounds a text than of the text.
LEAST_TOKENS: Final = 20
# An answer of this many tokens moves the factor by the full weight, a shorter one by its share.
FULL_TOKENS: Final = 400
WEIGHT: Final = 0.2


class ModelKey(NamedTuple):
    upstream: str
    name: str


def model_of(config: AgentConfig) -> ModelKey | None:
    """The model that answers. None where a fallback may have answered instead: a turn does not say which did."""
    if config.fallback_models:
        return None
    return ModelKey(config.model.upstream, config.model.name)


def updated(factor: float, estimated: int, reported: int) -> float:
    """The factor after an answer. Pure; always within LEAST and MOST.

    A rate outside of those is no rate of text: the model thought without saying so, or its report is wrong.
    """
    if estimated < LEAST_TOKENS or not LEAST <= reported / estimated <= MOST:
        return factor
    weight = WEIGHT * min(1.0, estimated / FULL_TOKENS)
    return min(MOST, max(LEAST, factor + weight * (reported / estimated - factor)))


class TokenRates:
    """A factor per model, of the models that were used last."""

    def __init__(self, models: int = MODELS) -> None:
        self._factors = LRUCache[ModelKey, float](models)

    def factor(self, model: ModelKey | None) -> float:
        return self._factors.get(model, 1.0) if model is not None else 1.0

    def observe(self, model: ModelKey, messages: Iterable[Mapping[str, Any]], usage: Usage) -> None:
        """Compares what a turn's answers were estimated to be with what the model counted."""
        if usage.estimated:
            return
        estimated = sum(estimated_tokens(text) for message in messages for text in _answered(message))
        factor = updated(self.factor(model), estimated, usage.completion_tokens - (usage.reasoning_tokens or 0))
        self._factors[model] = factor


def _answered(message: Mapping[str, Any]) -> Iterable[str]:
    """What the model wrote: text, and names and arguments of calls."""
    if message.get("role") != "assistant":
        return
    yield message.get("content") or ""
    for call in message.get("toolCalls") or ():
        yield call["name"]
        yield call["arguments"]
