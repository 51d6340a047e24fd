"""Receipts of erasures: what was erased is counted, and the receipt is written once nothing more is found.

A worker, a gateway or another history may still write when an erasure begins. So everything is looked through until it
has stayed empty for longer than any call takes.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from services.history.mongo.collection import Collection
from services.history.mongo.filters import Document

# Longer than a call to MongoDB may take, and than a key's record is trusted.
STAYS_EMPTY_FOR: Final = timedelta(seconds=10)


class Receipts:
    """Of the documents of one collection. `marker` is true in them while the erasure runs; `done` is the status after.

    Every method may be repeated, and be called by several processes at once.
    """

    def __init__(self, documents: Collection, marker: str, done: str) -> None:
        self._documents = documents
        self._marker = marker
        self._done = done

    async def count(self, erasure_id: str, what: str, number: int) -> None:
        """Counted after the fact: an interrupted erasure may have erased a page more than it counted."""
        if number:
            await self._documents.update({"_id": erasure_id}, {"$inc": {f"erased.{what}": number}})

    async def complete(
        self, row: Document, found: int, *, forget: tuple[str, ...] = (), also: Mapping[str, Any] | None = None
    ) -> bool:
        """After each look: notes that nothing was found, or writes the receipt. True: this call has written it.

        `forget` are members that go with it, `also` are further operators of the same update.
        """
        now = datetime.now(UTC)
        mine = {"_id": row["_id"], self._marker: True}
        if found or "emptyAt" not in row:
            await self._documents.update(mine, {"$set": {"emptyAt": now}})
            return False
        if now - row["emptyAt"] <= STAYS_EMPTY_FOR:
            return False
        gone = dict.fromkeys((self._marker, "emptyAt", *forget), "")
        done = {"$set": {"status": self._done, "completedAt": now}, "$unset": gone, **(also or {})}
        return await self._documents.update(mine, done)
