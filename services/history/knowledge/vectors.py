"""Vectors of sets of passages in MongoDB, for workers that do not search them in their own memory.

A set's document says of each space (embedding model) whether its vectors are complete. A build fences: when vectors are
dropped or begin again with another length, batches of the build before are refused.
"""

from typing import Final

from services.history.knowledge.vector_rows import VectorRows, numbers
from services.history.knowledge.version_indexes import VersionIndexes
from services.history.mongo.client import Database
from services.history.mongo.filters import Document
from shared.contracts.agents import Passage
from shared.contracts.errors import ApiError, Code
from shared.contracts.vectors import (
    BeginVectors,
    NearPassage,
    NearPassages,
    SearchVectors,
    VectorBatch,
    VectorBuild,
)
from shared.ids import new_id

# A cosine of 0 says nothing. MongoDB compares 32-bit numbers.
LEAST: Final = 1e-6


class Vectors:
    def __init__(self, database: Database, indexes: VersionIndexes, rows: VectorRows) -> None:
        self._sets = database.indexes
        self._collection = database.vectors
        self._indexes = indexes
        self._rows = rows

    async def begin(self, workspace: str, agent_id: str, number: int, space: str, order: BeginVectors) -> VectorBuild:
        """The build to which rows may be added: a new one, or that of another worker that stores the same.

        Raises `not_found` when the version has another set, `dependency_unavailable` when MongoDB cannot search
        vectors.
        """
        found = await self._indexes.require(workspace, agent_id, number, order.key)
        await self._collection.ensure_index(order.dimensions)
        kept = found.get("vectors", {}).get(space)
        if kept is not None and kept["dimensions"] != order.dimensions:
            await self.drop(workspace, order.key, space)
            kept = None
        if kept is None:
            kept = {"build": new_id("bld"), "dimensions": order.dimensions, "complete": False}
            where = {"_id": found["_id"], f"vectors.{space}": None, "erasing": None}
            if not await self._sets.update(where, {"$set": {f"vectors.{space}": kept}}):
                kept = await self._building(found["_id"], space)  # Another worker was faster, or the set is gone.
        if kept is None or kept["dimensions"] != order.dimensions:
            raise _gone()
        return VectorBuild(id=kept["build"])

    async def add(self, workspace: str, agent_id: str, number: int, space: str, batch: VectorBatch) -> None:
        """May be repeated. Raises `not_found` when the set is gone, or the build is not the set's any more."""
        found = await self._indexes.require(workspace, agent_id, number, batch.key)
        if (kept := await self._building(found["_id"], space, batch.build)) is None:
            raise _gone()
        await self._rows.add(found["_id"], batch.build, kept["dimensions"], batch.start, batch.rows)
        if batch.last:
            mine = {"_id": found["_id"], f"vectors.{space}.build": batch.build, "erasing": None}
            await self._sets.update(mine, {"$set": {f"vectors.{space}.complete": True}})
        if await self._building(found["_id"], space, batch.build) is None:
            # It was erased or dropped while the rows were written: they would be left behind.
            await self._rows.erase(found["_id"], batch.build)
            raise _gone()

    async def nearest(self, workspace: str, key: str, space: str, order: SearchVectors) -> NearPassages:
        """Passages that point away from the query are left out. Raises as `begin`."""
        vector = numbers(order.vector)
        kept = await self._building(f"{workspace}:{key}", space)
        if kept is None or not kept["complete"] or 4 * kept["dimensions"] != len(vector):
            return NearPassages()
        # Also of vectors that were stored before: a restored database has no search indexes.
        await self._collection.ensure_index(kept["dimensions"])
        found = await self._collection.nearest(vector, workspace, kept["build"], order.limit)
        return NearPassages(
            items=tuple(
                NearPassage(passage=Passage.model_validate(row["passage"]), cosine=cosine)
                for row, cosine in found
                if cosine > LEAST
            )
        )

    async def drop(self, workspace: str, key: str, space: str) -> None:
        """May be repeated. If it is cut off, `VectorRows.erase_abandoned` goes on."""
        index_id = f"{workspace}:{key}"
        if (kept := await self._building(index_id, space)) is not None:
            mine = {"_id": index_id, f"vectors.{space}.build": kept["build"]}
            await self._sets.update(mine, {"$unset": {f"vectors.{space}": ""}})
            await self._rows.erase(index_id, kept["build"])

    async def _building(self, index_id: str, space: str, build: str | None = None) -> Document | None:
        """What the set says of its vectors. None: it is gone, or has none, or has another build than `build`."""
        row = await self._sets.one({"_id": index_id}, {f"vectors.{space}": 1, "erasing": 1})
        kept: Document | None = row.get("vectors", {}).get(space) if row is not None else None
        is_erased = row is not None and row.get("erasing")
        return None if kept is None or is_erased or build not in (None, kept["build"]) else kept


def _gone() -> ApiError:
    return ApiError(Code.NOT_FOUND, "The set of passages, or this build of its vectors, is not wanted any more.")
