"""Pure: the members with which history itself ends a turn."""

from datetime import datetime

from services.history.mongo.filters import Document
from services.history.turns.record import TurnRecord, milliseconds
from services.history.turns.verdicts import Verdict
from shared.contracts.turns import Timing


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
