"""Erases everything of a deleted workspace, page by page.

Each step may be repeated, and by several processes at once.
"""

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final

from services.history.erasures.receipts import Receipts
from services.history.mongo.client import Database
from services.history.mongo.collection import Collection
from services.history.mongo.filters import Document, Where, between, one_of
from services.history.turns.erasure import Erasure
from shared.log import get_logger

log = get_logger()

PAGE: Final = 200
# A round of the reconciler also looks after turns: a deletion does not hold it up for longer.
ROUND_S: Final = 1.0

Eraser = Callable[[str], Awaitable[int]]
"""Erases what one noun keeps of a workspace outside of MongoDB, and returns how much it found."""


class WorkspaceDeletion:
    def __init__(self, database: Database, erasure: Erasure, *, erasers: Sequence[Eraser] = ()) -> None:
        self._workspaces = database.workspaces
        self._turns = database.turns
        # Keys and sessions first: without them nothing new can begin.
        first = (database.keys, database.sessions)
        # The notes for the second erasure hold ids of turns, and go by themselves when that is done.
        apart = (*first, database.turns, database.workspaces, database.erased_logs)
        others = [each for each in database.collections if each not in apart]
        self._collections: tuple[Collection, ...] = (*first, database.turns, *others)
        self._erasure = erasure
        self._erasers = erasers
        self._receipts = Receipts(database.workspaces, "deleting", "deleted")

    async def reconcile(self, limit: int = 20) -> None:
        for row in await self._workspaces.many({"deleting": True}, limit=limit):
            await self.step(row)

    async def step(self, row: Document) -> None:
        """Erases for about a second, and writes the receipt once everything has stayed empty."""
        workspace, until = row["_id"], time.monotonic() + ROUND_S
        found = 0
        for collection in self._collections:
            count, is_empty = await self._erase(collection, workspace, until)
            found += count
            if not is_empty:
                return
        for erase in self._erasers:
            found += await erase(workspace)
        if await self._receipts.complete(row, found):
            log.info("workspace_deleted", workspace=row["_id"])

    async def _erase(self, collection: Collection, workspace: str, until: float) -> tuple[int, bool]:
        """How many documents were erased, and whether none is left."""
        total = 0
        for where in _belonging(workspace):
            while True:
                rows = await collection.many(where, fields={"_id": 1, "active": 1}, limit=PAGE)
                if not rows:
                    break
                await self._erase_page(collection, workspace, rows)
                total += len(rows)
                if time.monotonic() > until:
                    return total, False
        return total, True

    async def _erase_page(self, collection: Collection, workspace: str, rows: Sequence[Document]) -> None:
        if collection is self._turns:
            active = [row["_id"] for row in rows if row.get("active")]
            await self._erasure.in_redis.erase(workspace, [row["_id"] for row in rows], active=active)
        await collection.delete_all({"_id": one_of([row["_id"] for row in rows])})
        await self._receipts.count(workspace, collection.name, len(rows))


def _belonging(workspace: str) -> Iterator[Where]:
    """Documents name their workspace, or begin their id with it and a colon, which no name contains."""
    yield {"workspace": workspace}
    yield {"_id": between(f"{workspace}:", f"{workspace};")}
