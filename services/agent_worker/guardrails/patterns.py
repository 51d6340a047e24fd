"""The guardrail that compares texts with its author's patterns."""

import asyncio
from typing import Final

from services.agent_worker.guardrails.verdicts import Block, GuardrailFailure, Texts, Verdict
from shared.contracts.guardrails import PatternsGuardrail
from shared.patterns import BadPattern, is_match, replaced

# Characters times patterns above which the search leaves the event loop, which other turns need.
INLINE: Final = 100_000


async def check_patterns(guardrail: PatternsGuardrail, texts: list[str]) -> Verdict:
    """Raises GuardrailFailure for a pattern that is none, which publishing should have refused."""
    if len(guardrail.patterns) * sum(map(len, texts)) > INLINE:
        return await asyncio.to_thread(_verdict, guardrail, texts)
    return _verdict(guardrail, texts)


def _verdict(guardrail: PatternsGuardrail, texts: list[str]) -> Verdict:
    try:
        if guardrail.action == "replace":
            return Texts([_replaced(guardrail, text) for text in texts])
        is_blocked = any(is_match(pattern, text) for text in texts for pattern in guardrail.patterns)
    except BadPattern as error:
        raise GuardrailFailure(f"bad pattern: {error}") from None
    return Block(guardrail.message) if is_blocked else Texts(texts)


def _replaced(guardrail: PatternsGuardrail, text: str) -> str:
    for pattern in guardrail.patterns:
        text = replaced(pattern, guardrail.replacement, text)
    return text
