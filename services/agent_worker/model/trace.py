"""The span of one model call, by OpenTelemetry's conventions for generative AI. It has no prompt and no answer."""

from contextlib import AbstractContextManager

from services.agent_worker.model.answer import Answer
from services.agent_worker.model.faults import ModelFault
from shared.contracts.agents import ModelChoice
from shared.tracing.spans import Span, span


def call_span(choice: ModelChoice, provider: str) -> AbstractContextManager[Span]:
    """`provider`: the upstream's kind where it is known, or else the upstream's name."""
    facts = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": choice.name,
        "parley.upstream": choice.upstream,
    }
    return span(f"chat {choice.name}", "client", attributes=facts)


def tell_answer(to: Span, answer: Answer) -> None:
    to.set({"gen_ai.response.finish_reasons": [answer.finish_reason]})
    if (usage := answer.usage) is not None:
        to.set(
            {
                "gen_ai.usage.input_tokens": usage.prompt_tokens,
                "gen_ai.usage.output_tokens": usage.completion_tokens,
            }
        )


def tell_fault(to: Span, fault: ModelFault) -> None:
    to.failed(fault.kind)
    if fault.error.status:
        to.set({"http.response.status_code": fault.error.status})
