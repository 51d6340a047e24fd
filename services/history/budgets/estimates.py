"""Pure: what a turn will probably use, before it has begun."""

from typing import Final

from shared.budgets.store import Estimate
from shared.contracts.agents import AgentConfig
from shared.contracts.prices import PriceTable
from shared.contracts.turns import AdmitTurn, Usage
from shared.tokens import message_tokens

# What an answer is taken to be if the agent has no limit.
ANSWER_TOKENS: Final = 500


def estimate_of(order: AdmitTurn, config: AgentConfig, prices: PriceTable) -> Estimate:
    """By the caller's messages alone: the counters correct it by the mean of the turns that have ended."""
    prompt = sum(message_tokens((message.content or "",)) for message in order.messages)
    answer = config.limits.max_output_tokens or ANSWER_TOKENS
    usage = Usage(prompt_tokens=prompt, completion_tokens=answer, total_tokens=prompt + answer)
    cost = prices.cost_nano(config.model.upstream, config.model.name, usage)
    return Estimate(prompt + answer, cost or 0)
