"""Passages: what a published version knows, frozen with it and read in pages of bounded range."""

from collections.abc import Sequence
from typing import Final

from services.history.mongo.client import Database
from services.history.mongo.filters import above, between, one_of
from shared.contracts.agents import Passage

PAGE: Final = 500


class Passages:
    """The passages of versions. Each document names its version's document and its position."""

    def __init__(self, database: Database) -> None:
        self._passages = database.passages

    async def freeze(self, version_id: str, passages: Sequence[Passage], *, start: int = 0) -> None:
        """The first gets the position `start`. May be repeated with the same passages."""
        for at in range(0, len(passages), PAGE):
            rows = enumerate(passages[at : at + PAGE], start + at)
            await self._passages.insert_all(
                [
                    {**row.wire(), "_id": f"{version_id}:{position}", "version": version_id, "position": position}
                    for position, row in rows
                ]
            )

    async def read(self, version_id: str, count: int) -> list[Passage]:
        """All `count` of them, in their order."""
        found: list[Passage] = []
        for start in range(0, count, PAGE):
            where = {"version": version_id, "position": between(start, start + PAGE)}
            rows = await self._passages.many(where, order=[("position", 1)])
            found += [Passage.model_validate(row) for row in rows]
        return found

    async def owners(self, after: str) -> list[str]:
        """Names above `after` of versions and readings that have passages, in their order: those of one page."""
        fields = {"_id": 0, "version": 1}  # An index has these alone, so no text is read.
        rows = await self._passages.many(
            {"version": above(after)}, fields=fields, order=[("version", 1), ("position", 1)], limit=PAGE
        )
        return list(dict.fromkeys(row["version"] for row in rows))

    async def erase(self, version_id: str) -> None:
        """All of them, in pages, so that no single command takes long. May be repeated."""
        while rows := await self._passages.many({"version": version_id}, fields={"_id": 1}, limit=PAGE):
            await self._passages.delete_all({"_id": one_of([row["_id"] for row in rows])})
