"""The documents of vectors: one per passage, named after its set, its build and its position."""

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Sequence
from typing import Final

from services.history.mongo.client import Database
from services.history.mongo.filters import above, between, one_of
from services.history.mongo.vector_collection import binary, member
from shared.contracts.errors import ApiError, Code
from shared.contracts.vectors import StoredVector

PAGE: Final = 500


class VectorRows:
    def __init__(self, database: Database) -> None:
        self._rows = database.vectors
        self._indexes = database.indexes

    async def add(self, index_id: str, build: str, dimensions: int, start: int, rows: Sequence[StoredVector]) -> None:
        """The first gets the position `start`. May be repeated with the same rows. Raises `validation_failed`."""
        await self._rows.insert_all(
            [
                {
                    "_id": f"{index_id}:{build}:{position}",
                    "workspace": index_id.partition(":")[0],
                    "build": build,
                    "passage": row.passage.wire(),
                    member(dimensions): binary(numbers(row.vector, dimensions)),
                }
                for position, row in enumerate(rows, start)
            ]
        )

    async def erase(self, index_id: str, build: str = "") -> None:
        """Those of a set, or of one build of it, in pages. May be repeated."""
        name = f"{index_id}:{build}" if build else index_id
        where = {"_id": between(f"{name}:", f"{name};")}
        while rows := await self._rows.many(where, fields={"_id": 1}, order=[("_id", 1)], limit=PAGE):
            await self._rows.delete_all({"_id": one_of([row["_id"] for row in rows])})

    async def erase_abandoned(self) -> None:
        """Those of sets and builds that are gone, because history died while it erased them or after a late batch.

        It looks at one row of each build. The row is read before its set: a set is stored before its vectors.
        """
        after = ""
        while rows := await self._rows.many({"_id": above(after)}, fields={"_id": 1}, order=[("_id", 1)], limit=1):
            workspace, key, build, _ = rows[0]["_id"].split(":")
            index_id = f"{workspace}:{key}"
            row = await self._indexes.one({"_id": index_id}, {"vectors": 1})
            if row is None or build not in {kept["build"] for kept in row.get("vectors", {}).values()}:
                await self.erase(index_id, build)
            after = f"{index_id}:{build};"


def numbers(vector: str, dimensions: int | None = None) -> bytes:
    """The bytes of a vector. Raises `validation_failed` for another length."""
    try:
        raw = b64decode(vector, validate=True)
    except (Base64Error, ValueError):
        raise ApiError(Code.VALIDATION_FAILED, "A vector is not Base64.") from None
    if not raw or len(raw) % 4 or (dimensions is not None and len(raw) != 4 * dimensions):
        raise ApiError(Code.VALIDATION_FAILED, "A vector does not have the length that was announced.")
    return raw
