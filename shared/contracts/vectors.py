"""Vectors of a version's passages that history keeps in MongoDB and searches there."""

from typing import Annotated, Final

from pydantic import Field

from shared.contracts.agents import Passage
from shared.contracts.schema import Schema

# A space holds the vectors of one embedding model: others cannot be compared with them.
SPACE_PATTERN: Final = r"[0-9a-f]{16}"
MAX_BATCH: Final = 64
# MongoDB indexes no longer ones.
MAX_DIMENSIONS: Final = 8_192
MAX_FOUND: Final = 100
Dimensions = Annotated[int, Field(ge=1, le=MAX_DIMENSIONS)]
# Base64 of 32-bit floats, little-endian, with a length of 1.
Vector = Annotated[str, Field(max_length=MAX_DIMENSIONS * 6)]


class BeginVectors(Schema):
    """A worker is about to store the vectors of the set `key`, whose rows have so many numbers."""

    key: str
    dimensions: Dimensions


class VectorBuild(Schema):
    """Names the storing of a set's vectors: batches of an earlier one are refused."""

    id: str


class StoredVector(Schema):
    passage: Passage
    vector: Vector


class VectorBatch(Schema):
    """The first has the position `start`. `last`: all others of the set are stored already."""

    key: str
    build: str
    start: int = Field(ge=0)
    rows: tuple[StoredVector, ...] = Field(max_length=MAX_BATCH)
    last: bool


class SearchVectors(Schema):
    vector: Vector
    limit: int = Field(ge=1, le=MAX_FOUND)


class NearPassage(Schema):
    passage: Passage
    cosine: float


class NearPassages(Schema):
    """Best first. Empty as well while the set has no vectors of this space or this length."""

    items: tuple[NearPassage, ...] = ()
