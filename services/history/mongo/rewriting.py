"""`parley migrate`: writes every document of an earlier schema version in its newest form, while everything runs.

A step may be dropped from `STEPS` only when no database holds documents of its version any more.
"""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from services.history.mongo.client import Database
from services.history.mongo.collection import Collection
from services.history.mongo.filters import Document
from services.history.mongo.migrations import STEPS, VERSION, is_older, migrated
from services.history.mongo.patience import batches, patiently

AT_ONCE: Final = 8

Progress = Callable[[str, int], None]
"""Is told a collection and how many of its documents have been looked at."""


class Rewriting:
    """Each method may be repeated, and be run beside all processes of this release and of the one before.

    A position per collection and schema version is kept in `backfills`, so a walk that was cut off goes on.
    """

    def __init__(self, database: Database, progress: Progress = lambda name, count: None) -> None:
        self._collections = [each for each in database.collections if each.name in STEPS]
        self._positions = database.backfills
        self._progress = progress

    async def left(self) -> dict[str, int]:
        """How many documents of each collection are not in the newest form. Reads all of them. Raises NoAnswer."""
        return {collection.name: await self._left(collection) for collection in self._collections}

    async def _left(self, collection: Collection) -> int:
        seen = left = 0
        async for rows in batches(collection, fields={VERSION: 1}):
            seen += len(rows)
            left += sum(is_older(collection.name, row) for row in rows)
            self._progress(collection.name, seen)
        return left

    async def run(self) -> dict[str, int]:
        """How many documents this call has rewritten, by collection. Raises NoAnswer."""
        return {collection.name: await self._walk(collection) for collection in self._collections}

    async def _walk(self, collection: Collection) -> int:
        position = {"_id": f"migrate:{collection.name}:{len(STEPS[collection.name])}"}
        begun = await patiently(partial(self._positions.one, position))
        if begun is None:
            await patiently(partial(self._positions.insert_all, [position]))
        seen = rewritten = 0
        async for rows in batches(collection, after=(begun or {}).get("after", "")):
            old = [row for row in rows if is_older(collection.name, row)]
            for some in _parts(old):
                rewritten += sum(await asyncio.gather(*(self._rewrite(collection, row) for row in some)))
            seen += len(rows)
            self._progress(collection.name, seen)
            change = {"$max": {"after": rows[-1]["_id"]}}
            await patiently(partial(self._positions.update, position, change))
        await patiently(partial(self._positions.delete, position))
        return rewritten

    async def _rewrite(self, collection: Collection, row: Document) -> bool:
        """A document that is changed meanwhile is read again."""
        found: Document | None = row
        while found is not None and is_older(collection.name, found):
            newest = migrated(collection.name, found)
            if await patiently(partial(collection.rewrite, found, newest)):
                return True
            found = await patiently(partial(collection.as_stored, row["_id"]))
        return False


def _parts(rows: list[Document]) -> Iterator[list[Document]]:
    return (rows[start : start + AT_ONCE] for start in range(0, len(rows), AT_ONCE))
