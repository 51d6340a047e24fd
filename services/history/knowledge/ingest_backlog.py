"""How much waits for ingest workers: measured by every history, because no ingest worker may be there to tell."""

import time
from datetime import UTC, datetime
from typing import Final

from services.history.metrics import INGEST_OLDEST, INGEST_WAITING
from services.history.mongo.client import Database
from services.history.mongo.collection import Collection
from services.history.mongo.filters import up_to

EVERY_S: Final = 5.0
# Enough to see that there are too few ingest workers. Counting more would cost more than it tells.
COUNTED: Final = 1000


class IngestBacklog:
    """A source or index waits from the moment at which a worker may take it. One under a lease does not wait."""

    def __init__(self, database: Database) -> None:
        self._queues: dict[str, Collection] = {"ingest": database.sources, "index_builds": database.indexes}
        self._next_at = 0.0

    async def measure(self) -> None:
        """A round of housekeeping, of which most do nothing. Raises ApiError while MongoDB is away."""
        if time.monotonic() < self._next_at:
            return
        self._next_at = time.monotonic() + EVERY_S
        now = datetime.now(UTC)
        for queue, documents in self._queues.items():
            where = {"waiting": True, "dueAt": up_to(now)}
            rows = await documents.many(where, fields={"dueAt": 1}, order=[("dueAt", 1)], limit=COUNTED)
            INGEST_WAITING.labels(queue).set(len(rows))
            INGEST_OLDEST.labels(queue).set((now - rows[0]["dueAt"]).total_seconds() if rows else 0.0)
