"""The words by which the search finds a turn. They are stored after the turn has ended, by the reconciler.

The end of a turn marks its document as `unindexed`; one update then stores `words` and `place` and removes the mark.
All three are members of the turn's document. So nothing is lost when a process dies, and they go with the turn.
"""

import asyncio
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from services.history.metrics import TURNS_INDEXED
from services.history.mongo.client import Database
from services.history.mongo.filters import Document, Where
from shared.contracts.errors import ApiError
from shared.log import get_logger
from shared.words import words_of

log = get_logger()

# Different words of one turn; the question's come first. Each costs an entry of the index.
MAX_WORDS: Final = 500
# Characters of one message that are read.
MAX_TEXT: Final = 100_000
PAGE: Final = 100
CONCURRENCY: Final = 4
# A round of the reconciler also looks after turns: the index does not hold it up for longer.
ROUND_S: Final = 1.0
_FIELDS: Final = {"workspace": 1, "sessionId": 1, "n": 1, "input": 1, "output": 1}
_SPOKEN: Final = ("user", "assistant")


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
        words = list(islice(dict.fromkeys(_words(row)), MAX_WORDS))
        change = {"$set": {"words": words, "place": place_of(row["sessionId"], row["n"])}, "$unset": {"unindexed": ""}}
        if await self._turns.update(where, change):
            TURNS_INDEXED.inc()


def place_of(session_id: str, number: int) -> str:
    """Sorts by session, and within it by the turn's number."""
    return f"{session_id}.{number:010}"


def _words(row: Document) -> Iterator[str]:
    """Of what user and agent said: no instructions, no results of tools."""
    messages: list[dict[str, Any]] = [*row.get("input", ()), *row.get("output", ())]
    for message in messages:
        if message.get("role") in _SPOKEN and message.get("content"):
            yield from words_of(message["content"][:MAX_TEXT])
