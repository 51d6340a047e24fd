"""Pure: the members of a turn's end: those of an end by history itself, and the event that tells of any end."""

from datetime import datetime

from services.history.mongo.filters import Document
from services.history.turns.record import TurnRecord, milliseconds
from services.history.turns.verdicts import Verdict
from services.history.webhooks.subscriptions import Subscriptions
from shared.contracts.turns import Timing
from shared.contracts.webhooks import EventType


def ending(verdict: Verdict, attempt: int, now: datetime) -> Document:
    """The members that every end by history has. `attempt`: the last one before it."""
    return {
        "attempt": attempt + 1,
        "status": verdict.status,
        "finishReason": "cancelled" if verdict.status == "cancelled" else None,
        "error": verdict.error.problem() if verdict.error else None,
        "lastSeq": 1,
        "endedAt": now,
    }


def timing_of(record: TurnRecord, now: datetime) -> Timing:
    started = record.first_claim_at or now
    return Timing(queued_ms=milliseconds(started - record.created_at), total_ms=milliseconds(now - record.created_at))


def end_event(subscriptions: Subscriptions, record: TurnRecord | None, status: str) -> Document:
    """The member that tells a workspace's webhooks. Turns of checks are nobody's conversations."""
    if record is None or record.check is not None:
        return {}
    name: EventType = "turn.failed" if status == "failed" else "turn.completed"
    return subscriptions.first(record.workspace, name)
