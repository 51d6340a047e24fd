"""The words of turns that ended without them: before there was a search, or when their words could not be told.

Such a turn is marked as `unindexed`; one update stores its words and removes the mark.
"""

import asyncio
import time
from typing import Final

from services.history.metrics import TURNS_INDEXED
from services.history.mongo.client import Database
from services.history.mongo.filters import Document, Where
from services.history.turns.spoken_words import words_of_turn
from shared.contracts.errors import ApiError
from shared.log import get_logger

log = get_logger()

PAGE: Final = 100
CONCURRENCY: Final = 4
# A round of the reconciler also looks after turns: the index does not hold it up for longer.
ROUND_S: Final = 1.0
_FIELDS: Final = {"workspace": 1, "sessionId": 1, "n": 1, "input": 1, "output": 1}


class TranscriptWords:
    def __init__(self, database: Database) -> None:
        self._turns = database.turns

    async def reconcile(self, round_s: float = ROUND_S) -> None:
        """Stores the words of turns that have ended. May be repeated, and run by several processes."""
        until = time.monotonic() + round_s
        while rows := await self._turns.many({"unindexed": True}, fields=_FIELDS, limit=PAGE):
            for at in range(0, len(rows), CONCURRENCY):
                await asyncio.gather(*map(self._store, rows[at : at + CONCURRENCY]))
            if len(rows) < PAGE or time.monotonic() > until:
                return

    async def _store(self, row: Document) -> None:
        """A turn whose words cannot be stored loses its mark: it must not hold up the others for ever."""
        where = {"_id": row["_id"], "workspace": row["workspace"], "unindexed": True}
        try:
            await self._index(where, row)
        except ApiError:
            raise
        except Exception:
            log.exception("turn_not_indexed", turn_id=row["_id"])
            await self._turns.update(where, {"$unset": {"unindexed": ""}})

    async def _index(self, where: Where, row: Document) -> None:
        messages = [*row.get("input", ()), *row.get("output", ())]
        change = {"$set": words_of_turn(row["sessionId"], row["n"], messages), "$unset": {"unindexed": ""}}
        if await self._turns.update(where, change):
            TURNS_INDEXED.inc()
