"""A backfill: gives documents of earlier releases what this release writes into new ones. Bounded, and done once.

It walks through a collection by id, some documents in each round of the reconciler. Its position is a document of the
collection `backfills`, so a process that dies costs one page. Processes of the release before may still write for a
while, so a walk ends an hour after its beginning.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from services.history.metrics import BACKFILLED
from services.history.mongo.client import Database
from services.history.mongo.collection import Collection
from services.history.mongo.dialect import Fields, IdField
from services.history.mongo.errors import Duplicate
from services.history.mongo.filters import Document
from shared.contracts.errors import ApiError
from shared.ids import id_at
from shared.log import get_logger

log = get_logger()

PAGE: Final = 200
CONCURRENCY: Final = 4
# A round of the reconciler also looks after turns: a walk does not hold it up for longer.
ROUND_S: Final = 0.5
IDLE_S: Final = 60.0
UPGRADE_MS: Final = 3_600_000
# Younger documents may still change.
YOUNG_MS: Final = 600_000

Visit = Callable[[Document], Awaitable[bool]]
"""Completes one document, and says whether anything was missing. It may be repeated."""


class Backfill:
    """`fields`: what `visit` is given of a document."""

    def __init__(
        self, database: Database, name: str, collection: Collection, ids: IdField, fields: Fields, visit: Visit
    ) -> None:
        self._positions = database.backfills
        self._name = name
        self._collection = collection
        self._ids = ids
        self._fields = fields
        self._visit = visit
        self._is_done = False
        self._idle_until = 0.0

    async def reconcile(self) -> None:
        """Visits documents for about `ROUND_S`. Several processes may walk side by side."""
        if self._is_done or time.monotonic() < self._idle_until:
            return
        position = await self._positions.one({"_id": self._name}) or await self._begin()
        if position.get("done"):
            self._is_done = True
            return
        now_ms = time.time_ns() // 1_000_000
        high_ms = min(now_ms - YOUNG_MS, position["untilMs"])
        if await self._walk(position.get("after"), id_at(self._ids.prefix, high_ms)):
            self._idle_until = time.monotonic() + IDLE_S
            if high_ms == position["untilMs"]:
                await self._positions.update({"_id": self._name}, {"$set": {"done": True}})

    async def _begin(self) -> Document:
        """Where there are no documents yet, nobody wrote any before this release."""
        rows, _ = await self._collection.page({}, self._ids, "asc", None, 1, {"_id": 1})
        until_ms = time.time_ns() // 1_000_000 + UPGRADE_MS
        position: Document = {"_id": self._name, "untilMs": until_ms, "done": not rows}
        try:
            await self._positions.insert(position)
        except Duplicate:  # Another history was faster.
            return await self._positions.one({"_id": self._name}) or position
        return position

    async def _walk(self, after: str | None, high: str) -> bool:
        """Whether everything below `high` was visited."""
        until = time.monotonic() + ROUND_S
        while time.monotonic() < until:
            rows, following = await self._collection.page({}, self._ids, "asc", after, PAGE, self._fields, high=high)
            for at in range(0, len(rows), CONCURRENCY):
                changed = await asyncio.gather(*map(self._visited, rows[at : at + CONCURRENCY]))
                BACKFILLED.labels(self._name).inc(sum(changed))
            if rows:
                after = rows[-1][self._ids.name]
                await self._positions.update({"_id": self._name}, {"$max": {"after": after}})
            if following is None:
                return True
        return False

    async def _visited(self, row: Document) -> bool:
        """One document that cannot be read must not hold up the others."""
        try:
            return await self._visit(row)
        except ApiError:
            raise
        except Exception:
            log.exception("document_not_backfilled", backfill=self._name, document_id=row["_id"])
            return False
