"""The end of an attempt: the fact that goes to history, the metrics, and the one log line of a turn."""

from datetime import UTC, datetime

from services.agent_worker.metrics import TOKENS, TURN_SECONDS, TURNS
from services.agent_worker.turns.attempt import Attempt
from services.agent_worker.turns.steps import Fail, Finish
from shared.contracts.jobs import RunTurn
from shared.contracts.turns import FinishedTurn, Timing
from shared.log import get_logger
from shared.tracing.spans import traceparent

log = get_logger()


def finished_turn(
    job: RunTurn, number: int, attempt: Attempt, end: Finish | Fail, duration_s: float, last_seq: int
) -> FinishedTurn:
    """`number` is the attempt's. All times count from the turn's admission."""
    failed, reason = (True, None) if isinstance(end, Fail) else (False, end.reason)
    return FinishedTurn(
        workspace=job.workspace,
        turn_id=job.turn_id,
        attempt=number,
        status="failed" if failed else "cancelled" if reason == "cancelled" else "completed",
        finish_reason=reason,
        output=tuple(attempt.state.output),
        usage=attempt.state.usage,
        uses=attempt.state.spent.by_model,
        timing=_timing(attempt, duration_s),
        error=end.error.problem() if isinstance(end, Fail) else None,
        last_seq=last_seq,
        ended_at=datetime.now(UTC),
        guardrails=tuple(attempt.guard.acts) or None,
        checked_input=attempt.guard.checked_input,
        collected=attempt.tools.effects.collected,
        end_session=attempt.tools.effects.end_session,
        traceparent=traceparent() or None,
    )


def _timing(attempt: Attempt, duration_s: float) -> Timing:
    waited_ms, first_text_s = attempt.waited_ms, attempt.first_text_s
    return Timing(
        queued_ms=waited_ms,
        first_token_ms=None if first_text_s is None else waited_ms + round(first_text_s * 1000),
        total_ms=waited_ms + round(duration_s * 1000),
    )


def count(finished: FinishedTurn, duration_s: float, *, check: bool) -> None:
    """Updates the turn's metrics and writes its summary line. A turn of a check has the line only."""
    usage = finished.usage
    prompt_tokens, completion_tokens = (usage.prompt_tokens, usage.completion_tokens) if usage is not None else (0, 0)
    if not check:
        TURNS.labels(finished.status).inc()
        TURN_SECONDS.observe(duration_s)
        for use in finished.uses:
            TOKENS.labels(use.upstream, "prompt").inc(use.usage.prompt_tokens)
            TOKENS.labels(use.upstream, "completion").inc(use.usage.completion_tokens)
    log.info(
        "turn_finished",
        status=finished.status,
        finish_reason=finished.finish_reason,
        code=finished.error and finished.error["code"],
        duration_s=round(duration_s, 4),
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        check=check,
    )
