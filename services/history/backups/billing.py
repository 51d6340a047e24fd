"""Which turns the copied ledger has, so that a restored one counts each exactly once.

The ledger is copied before the turns, and goes on meanwhile. A turn that it took after it was copied has lost its mark
`unbilled` by the time the turn is copied; it gets the mark back. A ledger's document lists the turns that were added
in the minute before (`usage/ledger.py`), and a turn says when its mark was removed (`billedAt`); together they decide.
They are exact while the ledger is copied in less than a minute; beyond, for turns of one model without an end user.
"""

from bisect import bisect_left
from collections import defaultdict
from datetime import UTC, datetime
from typing import Final

from services.history.mongo.filters import Document
from services.history.usage.entries import Entry, entries_of
from services.history.usage.ledger import BILLED_AT, KEPT

# Clocks of histories may differ by this much, and a read takes some time.
MARGIN: Final = KEPT / 2
END_USERS: Final = "end_user_usage_days"
DAYS: Final = "usage_days"


class CopiedLedger:
    def __init__(self, started_at: datetime) -> None:
        self._from = started_at - MARGIN
        self._listed: set[tuple[str, str]] = set()
        self._read: dict[str, list[tuple[str, datetime]]] = defaultdict(list)

    def note(self, collection: str, rows: list[Document]) -> None:
        """Documents of the ledger, just after they were read, in the order of their ids."""
        if collection in (DAYS, END_USERS):
            self._read[collection].append((rows[-1]["_id"], datetime.now(UTC)))
            oldest = self._from - KEPT
            for row in rows:
                self._listed |= {(row["_id"], each["id"]) for each in row.get("billed", ()) if each["at"] > oldest}

    def as_copied(self, turn: Document) -> Document:
        """The turn, marked unless each document that it was added to has it in the copy."""
        billed_at = turn.get(BILLED_AT)
        # A turn whose content is erased does not tell any more what it has used.
        if billed_at is None or billed_at < self._from or "usageOnly" in turn:
            return turn
        if all(self._has(entry, billed_at) for entry in entries_of(turn)):
            return turn
        return {**{name: value for name, value in turn.items() if name != BILLED_AT}, "unbilled": True}

    def _has(self, entry: Entry, billed_at: datetime) -> bool:
        if (entry.id, entry.turn_id) in self._listed:
            return True
        read = self._read[END_USERS if "endUserId" in entry.identity else DAYS]
        at = bisect_left(read, entry.id, key=lambda batch: batch[0])
        # Not listed: it was added long before the document was read, or after.
        return at < len(read) and bool(billed_at < read[at][1] - MARGIN)
