"""The ledger: a document per day, agent, key and model, to which each ended turn is added exactly once.

A turn's document says `unbilled` from the update that ends it until the ledger has it. The ledger's document keeps the
ids of the turns that were added last: adding and noting the id are one update, so a repeat adds nothing. Turns may be
erased afterwards; what they have used stays, without content.
"""

import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from services.history.mongo.client import Database
from services.history.mongo.collection import Collection
from services.history.mongo.errors import Duplicate
from services.history.mongo.filters import Document, Where, between, none_of, one_of
from services.history.usage.entries import READ, Entry, end_user_prefix, entries_of, summed

PAGE: Final = 200
# An id is kept for longer than any process works on a page of turns that it has read.
KEPT: Final = timedelta(seconds=60)
WORKS_FOR_S: Final = 20.0


class Ledger:
    """Every method may be repeated, and be run by several processes at once."""

    def __init__(self, database: Database) -> None:
        self._turns = database.turns
        self._days = database.usage_days
        self._end_users = database.end_user_usage_days

    async def reconcile(self) -> None:
        await self.bill()

    async def bill(self, workspace: str | None = None) -> None:
        """Adds the turns that are not in the ledger yet. `workspace` None: of all."""
        where: Where = {"unbilled": True} if workspace is None else {"unbilled": True, "workspace": workspace}
        count = PAGE
        while count == PAGE:
            started = time.monotonic()
            rows = await self._turns.many(where, fields=READ, limit=PAGE)
            count = len(rows)
            if rows and not await self._bill(rows, started + WORKS_FOR_S):
                return

    async def _bill(self, rows: Sequence[Document], until: float) -> bool:
        """False: it took too long, so the rest is left to the next call."""
        by_document: dict[tuple[bool, str], list[Entry]] = defaultdict(list)
        for row in rows:
            for entry in entries_of(row):
                by_document["endUserId" in entry.identity, entry.id].append(entry)
        for (of_end_user, _), entries in by_document.items():
            if time.monotonic() > until:
                return False
            await self._add(self._end_users if of_end_user else self._days, entries, until)
        billed = {"_id": one_of([row["_id"] for row in rows]), "unbilled": True}
        await self._turns.update_all(billed, {"$unset": {"unbilled": ""}})
        return True

    async def _add(self, documents: Collection, entries: Sequence[Entry], until: float) -> None:
        name, workspace = entries[0].id, entries[0].id.partition(":")[0]
        turns = {entry.turn_id for entry in entries}
        while turns and time.monotonic() < until:
            now = datetime.now(UTC)
            fresh = [entry for entry in entries if entry.turn_id in turns]
            change = {
                "$inc": {counter: count for counter, count in summed(entry.counts for entry in fresh).items() if count},
                "$push": {"billed": {"$each": [{"id": turn, "at": now} for turn in sorted(turns)]}},
            }
            if not change["$inc"]:
                del change["$inc"]
            if await documents.update({"_id": name, "billed.id": none_of(sorted(turns))}, change):
                await documents.update({"_id": name}, {"$pull": {"billed": {"at": {"$lt": now - KEPT}}}})
                return
            turns = await self._not_billed(documents, name, turns, {**entries[0].identity, "workspace": workspace})

    async def _not_billed(self, documents: Collection, name: str, turns: set[str], identity: Document) -> set[str]:
        """Those of the turns that the document lacks. It is made if it does not exist."""
        row = await documents.one({"_id": name}, {"billed": 1})
        if row is None:
            try:
                await documents.insert({"_id": name, **identity, "billed": []})
            except Duplicate:
                row = await documents.one({"_id": name}, {"billed": 1})
        return turns - {each["id"] for each in (row or {}).get("billed", ())}

    async def rows(
        self, workspace: str, first: str, last: str, end_user: str | None = None, *, with_turns: bool = False
    ) -> list[Document]:
        """The documents of the days from `first` to `last`, both included.

        `with_turns`: with the ids of the turns that were added last.
        """
        prefix = f"{workspace}:" if end_user is None else end_user_prefix(workspace, end_user)
        documents = self._days if end_user is None else self._end_users
        ids = between(prefix + first, f"{prefix}{last};")
        return await documents.many({"_id": ids}, fields=None if with_turns else {"billed": 0}, order=[("_id", 1)])

    async def forget_end_user(self, workspace: str, end_user: str) -> None:
        """Erases what is kept by the end user's name. The sums by agent, key, model and day do not know it."""
        await self.bill(workspace)
        prefix = end_user_prefix(workspace, end_user)
        await self._end_users.delete_all({"_id": between(prefix, f"{prefix[:-1]};")})
