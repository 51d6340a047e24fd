"""What the process counts of turns that ended: their status, the codes of failures, and what they used."""

from collections.abc import Sequence

from services.history.metrics import TURNS_FAILED, TURNS_FINISHED
from services.history.mongo.filters import Document
from services.history.turns.record import TurnRecord
from services.history.usage.meter import UsageMeter


class EndCounts:
    def __init__(self) -> None:
        self._meter = UsageMeter()

    def count(self, record: TurnRecord, status: str, code: str | None, uses: Sequence[Document]) -> None:
        """Turns of checks count in no statistics."""
        if record.check is None:
            TURNS_FINISHED.labels(status).inc()
            if status == "failed":
                TURNS_FAILED.labels(code or "unknown").inc()
            self._meter.count(record.agent_id, uses)
