"""A MongoDB that searches vectors: the stand-in's documents, and brute force behind the commands of the manual.

No real mongot was to be had. What is sent is compared with the manual's shapes, member by member.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from bson.binary import Binary
from pymongo.errors import OperationFailure
from pymongo.operations import SearchIndexModel

from services.history.mongo.client import Database

HEADER = b"\x27\x00"


class VectorServer:
    """Takes the place of the driver's collection. `definitions`: the search indexes, by name. `searches`: as sent."""

    def __init__(self, collection: Any) -> None:
        self._collection = collection
        self.definitions: dict[str, Mapping[str, Any]] = {}
        self.searches: list[Mapping[str, Any]] = []
        # What a search answers that began before the newest documents were indexed: nothing.
        self.is_indexing = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._collection, name)

    async def create_search_index(self, model: SearchIndexModel) -> str:
        document = model.document
        _expect(document.keys() == {"name", "type", "definition"} and document["type"] == "vectorSearch", document)
        for field in document["definition"]["fields"]:
            if field["type"] == "vector":
                _expect(field.keys() == {"type", "path", "numDimensions", "similarity"}, field)
                _expect(field["similarity"] in ("dotProduct", "cosine", "euclidean"), field)
                _expect(1 <= field["numDimensions"] <= 8192, field)
            else:
                _expect(field.keys() == {"type", "path"} and field["type"] == "filter", field)
        if document["name"] in self.definitions:
            raise OperationFailure("Index already exists.", 68)
        self.definitions[document["name"]] = document["definition"]
        return str(document["name"])

    async def search(self, pipeline: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        (stage, project) = pipeline
        search = stage["$vectorSearch"]
        self.searches.append(search)
        needed = {"index", "path", "queryVector", "numCandidates", "limit", "filter"}
        _expect(search.keys() == needed and isinstance(search["limit"], int), search)
        _expect(search["limit"] <= search["numCandidates"] <= 10_000, search)
        _expect(project["$project"].pop("score") == {"$meta": "vectorSearchScore"}, project)
        if (definition := self.definitions.get(search["index"])) is None or self.is_indexing:
            return []
        vector = next(field for field in definition["fields"] if field["type"] == "vector")
        _expect(vector["path"] == search["path"], search)
        query = _floats(search["queryVector"])
        _expect(len(query) == vector["numDimensions"], search)
        paths = {field["path"] for field in definition["fields"] if field["type"] == "filter"}
        rows = await self._collection.find(_asked(search["filter"], paths)).to_list(None)
        scored = [(_product(_floats(row[search["path"]]), query), row) for row in rows if search["path"] in row]
        best = sorted(scored, key=lambda each: -each[0])[: search["limit"]]
        kept = {"_id", *project["$project"]}
        return [{k: v for k, v in row.items() if k in kept} | {"score": (1 + score) / 2} for score, row in best]


def searching(database: Database) -> VectorServer:
    """From now on the database's MongoDB can search vectors."""
    server = VectorServer(database.vectors._collection)
    database.vectors._collection = server
    database.vectors._aggregate = server.search
    return server


def _asked(terms: Mapping[str, Any], paths: set[str]) -> dict[str, Any]:
    """A filter of indexed members: others are refused, as mongot refuses them."""
    asked = {path: value for term in terms["$and"] for path, value in term.items()}
    _expect(asked.keys() <= paths, terms)
    return asked


def _floats(value: Binary) -> tuple[float, ...]:
    raw = bytes(value)
    _expect(value.subtype == 9 and raw.startswith(HEADER), value)
    return struct.unpack(f"<{(len(raw) - 2) // 4}f", raw[2:])


def _product(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def _expect(holds: bool, what: object) -> None:
    if not holds:
        raise OperationFailure(f"not a command of the manual: {what!r}", 8)
