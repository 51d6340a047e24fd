"""Pure: the tokens of a turn, summed over its model calls."""

from collections.abc import Iterable, Sequence

from services.agent_worker.turns.conversation import prompt_tokens
from services.agent_worker.turns.paired_calls import PromptMessage
from shared.contracts.agents import ModelChoice
from shared.contracts.turns import ModelUse, Usage
from shared.tokens import estimated_tokens


class TurnUsage:
    """What an attempt's model calls have used. `total` is the sum of `by_model`."""

    def __init__(self) -> None:
        self.total = Usage()
        self._by_model: dict[tuple[str, str, bool], Usage] = {}

    def add(self, choice: ModelChoice, usage: Usage) -> None:
        self.total = sum_of(self.total, usage)
        key = (choice.upstream, choice.name, bool(usage.estimated))
        self._by_model[key] = sum_of(self._by_model[key], usage) if key in self._by_model else usage

    @property
    def by_model(self) -> tuple[ModelUse, ...]:
        return tuple(
            ModelUse(upstream=upstream, model=model, usage=usage)
            for (upstream, model, _), usage in self._by_model.items()
        )


def estimated_usage(prompt: Iterable[PromptMessage], answer: Sequence[str]) -> Usage:
    """For a model call whose upstream reported none. `answer`: its text and the arguments of its calls."""
    sent, received = sum(map(prompt_tokens, prompt)), sum(map(estimated_tokens, answer))
    return Usage(prompt_tokens=sent, completion_tokens=received, total_tokens=sent + received, estimated=True)


def sum_of(one: Usage, other: Usage) -> Usage:
    return Usage(
        prompt_tokens=one.prompt_tokens + other.prompt_tokens,
        completion_tokens=one.completion_tokens + other.completion_tokens,
        total_tokens=one.total_tokens + other.total_tokens,
        cached_tokens=_sum_of_known(one.cached_tokens, other.cached_tokens),
        reasoning_tokens=_sum_of_known(one.reasoning_tokens, other.reasoning_tokens),
        estimated=one.estimated or other.estimated,
    )


def _sum_of_known(one: int | None, other: int | None) -> int | None:
    return None if one is None and other is None else (one or 0) + (other or 0)
