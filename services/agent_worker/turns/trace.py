"""The span of an attempt, by OpenTelemetry's GenAI conventions, below the request that asked for the turn."""

from contextlib import AbstractContextManager

from shared.contracts.jobs import RunTurn
from shared.contracts.turns import ClaimedTurn, FinishedTurn
from shared.tracing.spans import Span, Value, span
from shared.tracing.traceparent import valid


def attempt_span(job: RunTurn) -> AbstractContextManager[Span]:
    facts: dict[str, Value] = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.id": job.agent_id,
        "gen_ai.agent.version": str(job.agent_version),
        "parley.turn.id": job.turn_id,
    }
    if job.request_id:
        facts["parley.request.id"] = job.request_id
    return span("invoke_agent", "consumer", parent=valid(job.traceparent), attributes=facts)


def tell_claim(to: Span, claimed: ClaimedTurn) -> None:
    to.set({"parley.attempt": claimed.attempt})
    if claimed.session_id is not None:
        to.set({"gen_ai.conversation.id": claimed.session_id})


def tell_end(to: Span, finished: FinishedTurn) -> None:
    if finished.finish_reason is not None:
        to.set({"gen_ai.response.finish_reasons": [finished.finish_reason]})
    if finished.usage is not None:
        to.set(
            {
                "gen_ai.usage.input_tokens": finished.usage.prompt_tokens,
                "gen_ai.usage.output_tokens": finished.usage.completion_tokens,
            }
        )
    if finished.error is not None:
        to.failed(str(finished.error["code"]))
