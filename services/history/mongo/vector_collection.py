"""The collection of vectors: its search indexes, and `$vectorSearch`, which MongoDB Atlas has, or a server with mongot.

The shapes are those of MongoDB's manual ("Run Vector Search Queries", "How to Index Fields for Vector Search").
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from bson.binary import VECTOR_SUBTYPE, Binary
from pymongo.errors import OperationFailure
from pymongo.operations import SearchIndexModel

from services.history.metrics import VECTOR_SEARCHES_REFUSED
from services.history.mongo.availability import Availability
from services.history.mongo.collection import Collection
from services.history.mongo.driver import DriverCollection
from services.history.mongo.filters import Document
from shared.contracts.errors import ApiError, Code
from shared.log import get_logger

log = get_logger()

# Members by which a search chooses before it compares vectors: without them in the index it would be refused.
FILTERS: Final = ("workspace", "build")
# The approximate search looks at so many neighbours for each that it returns: MongoDB's advice.
_PER_RESULT: Final = 20
_MIN_CANDIDATES: Final = 200
_MAX_CANDIDATES: Final = 10_000
# A server without search: of mongod (31082), of servers that do not know the command or the stage (59, 115, 40324,
# 6047401).
_NO_SEARCH: Final = frozenset({59, 115, 31082, 40324, 6047401})
_INDEX_EXISTS: Final = 68
# BSON's header of a vector of 32-bit floats: the type, and no padding.
_FLOAT32: Final = b"\x27\x00"


# Sends a pipeline to this collection.
Aggregate = Callable[[Sequence[Mapping[str, Any]]], Awaitable[list[Document]]]


class VectorCollection(Collection):
    """Vectors of each length have a member and a search index of their own."""

    def __init__(self, availability: Availability, collection: DriverCollection, aggregate: Aggregate) -> None:
        super().__init__(availability, collection)
        self._aggregate = aggregate
        self._indexed: frozenset[int] = frozenset()

    async def ensure_index(self, dimensions: int) -> None:
        """Orders the search index of vectors of this length. MongoDB builds it later: searches find nothing until then.

        Raises ApiError(`dependency_unavailable`), for a server that cannot search vectors too.
        """
        if dimensions in self._indexed:
            return
        fields = [
            {
                "type": "vector",
                "path": member(dimensions),
                "numDimensions": dimensions,
                # The vectors have a length of 1: the product is the cosine, and one of zeros is no error.
                "similarity": "dotProduct",
            },
            *({"type": "filter", "path": path} for path in FILTERS),
        ]
        model = SearchIndexModel({"fields": fields}, name=_index(dimensions), type="vectorSearch")

        async def create() -> None:
            try:
                await self._collection.create_search_index(model)
            except OperationFailure as error:
                if error.code != _INDEX_EXISTS:
                    raise _refused(error) from error

        await self._run(create, "vectors")
        self._indexed |= {dimensions}

    async def nearest(self, vector: bytes, workspace: str, build: str, limit: int) -> list[tuple[Document, float]]:
        """Documents of a build with their cosines, best first. Raises as `ensure_index`."""
        dimensions = len(vector) // 4
        search: Document = {
            "index": _index(dimensions),
            "path": member(dimensions),
            "queryVector": binary(vector),
            "numCandidates": min(_MAX_CANDIDATES, max(_MIN_CANDIDATES, limit * _PER_RESULT)),
            "limit": limit,
            "filter": {"$and": [{"workspace": {"$eq": workspace}}, {"build": {"$eq": build}}]},
        }
        kept = {"passage": 1, "score": {"$meta": "vectorSearchScore"}}

        async def found() -> list[Document]:
            try:
                return await self._aggregate([{"$vectorSearch": search}, {"$project": kept}])
            except OperationFailure as error:
                raise _refused(error) from error

        # MongoDB's score of a product is (1 + product) / 2.
        return [(row, 2 * row["score"] - 1) for row in await self._run(found, "vectors")]


def binary(vector: bytes) -> Binary:
    """32-bit floats, little-endian, as BSON's vector: a third of the size of a list of numbers."""
    return Binary(_FLOAT32 + vector, VECTOR_SUBTYPE)


def member(dimensions: int) -> str:
    return f"vector{dimensions}"


def _index(dimensions: int) -> str:
    return f"vectors_{dimensions}"


def _refused(error: OperationFailure) -> Exception:
    """Other faults are the driver's, and count as an outage."""
    if error.code not in _NO_SEARCH:
        return error
    VECTOR_SEARCHES_REFUSED.inc()
    log.warning(
        "vector_search_missing",
        code=error.code,
        mend="MongoDB cannot search vectors. Use Atlas or a server with mongot, or unset PARLEY_MONGODB_VECTORS.",
    )
    return ApiError(Code.DEPENDENCY_UNAVAILABLE, "MongoDB cannot search vectors: it needs Atlas or mongot.")
