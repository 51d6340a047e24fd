"""One collection of MongoDB: reads, pages, and writes that may be repeated."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from typing import Final

from pymongo import ReplaceOne

from services.history.mongo.availability import Availability
from services.history.mongo.dialect import Dialect, Direction, Fields, IdField, Order, PageQuery
from services.history.mongo.driver import DriverCollection
from services.history.mongo.errors import Duplicate
from services.history.mongo.filters import Document, Where
from services.history.mongo.migrations import migrated, stamped, with_version

# Documents of one reply of `scan`. A turn may have a megabyte of text.
SCAN_BATCH: Final = 100


class Collection:
    """Every call raises ApiError(`dependency_unavailable`) while MongoDB is away, within a second of its loss."""

    def __init__(self, availability: Availability, collection: DriverCollection) -> None:
        self.name = collection.name
        # Replaced before the first call, when the server has said what it is.
        self.dialect = Dialect()
        self._run = availability.run
        self._collection = collection

    async def insert(self, document: Document) -> None:
        """Durable when it returns. Raises Duplicate, Unstorable.

        The caller makes the id, so a repeat meets its own document.
        """
        await self._run(lambda: self._collection.insert_one(stamped(self.name, document)), "insert")

    async def insert_all(self, documents: Sequence[Document]) -> None:
        """Documents that exist already are left as they are. Raises Unstorable."""
        if documents:
            rows = [stamped(self.name, document) for document in documents]
            with suppress(Duplicate):
                await self._run(lambda: self._collection.insert_many(rows, ordered=False), "insert")

    async def one(self, where: Where, fields: Fields | None = None) -> Document | None:
        row = await self.dialect.one(self._find, where, with_version(self.name, fields))
        return migrated(self.name, row) if row is not None else None

    async def many(
        self, where: Where, *, fields: Fields | None = None, order: Order | None = None, limit: int = 0
    ) -> list[Document]:
        """The caller bounds the result, by a range or by `limit`."""
        rows = await self._find(self.dialect.query(where), with_version(self.name, fields), order, limit)
        return [migrated(self.name, row) for row in rows]

    async def page(
        self,
        where: Where,
        by: IdField,
        direction: Direction,
        after: str | None,
        limit: int,
        fields: Fields | None = None,
        *,
        low: str | None = None,
        high: str | None = None,
    ) -> tuple[list[Document], str | None]:
        """Up to `limit` documents beyond the id `after`, in the order of their ids, and the `after` of the next page.

        `by` must be the last member of an index whose other members are compared in `where`.
        """
        query = PageQuery(where, by, direction, after, limit, with_version(self.name, fields), low, high, self.name)
        rows = [migrated(self.name, row) for row in await self.dialect.page(self._find, query)]
        return rows[:limit], rows[limit - 1][by.name] if len(rows) > limit else None

    async def scan(
        self, after: str = "", *, below: str | None = None, fields: Fields | None = None
    ) -> AsyncGenerator[list[Document], None]:
        """All documents beyond the id `after` as they are stored, not migrated, in the order of their ids.

        One cursor, read in batches. It shows no single moment: what is written meanwhile may be seen or not.
        """
        ids = {"$gt": after} if below is None else {"$gt": after, "$lt": below}
        cursor = self._collection.find({"_id": ids}, fields, batch_size=SCAN_BATCH).sort("_id", 1)
        try:
            while rows := await self._run(lambda: cursor.to_list(SCAN_BATCH), "find"):
                yield rows
        finally:
            await cursor.close()

    async def as_stored(self, document_id: str) -> Document | None:
        """Not migrated."""
        return await self._run(lambda: self._collection.find_one({"_id": document_id}), "find")

    async def insert_as_is(self, documents: Sequence[Document]) -> None:
        """With the schema versions that they have. Those whose id exists are left as they are. Raises Unstorable."""
        if documents:
            with suppress(Duplicate):
                await self._run(lambda: self._collection.insert_many(documents, ordered=False), "insert")

    async def rewrite(self, before: Document, after: Document) -> bool:
        """Makes `before` into `after`: writes the members that differ, where they still are as in `before`.

        False: the document was changed in them, or is gone.
        """
        gone = before.keys() - after.keys()
        changed = {name: value for name, value in after.items() if _differs(before, name, value)}
        query = {name: {"$eq": before[name]} if name in before else None for name in {*gone, *changed}}
        change = {"$set": changed, "$unset": dict.fromkeys(gone, "")}
        operators = {name: members for name, members in change.items() if members}
        query["_id"] = before["_id"]
        result = await self._run(lambda: self._collection.update_one(query, operators), "update")
        return bool(result.matched_count)

    async def count(self, where: Where, most: int) -> int:
        """Documents that match, counted up to `most`."""
        query = self.dialect.query(where)
        return int(await self._run(lambda: self._collection.count_documents(query, limit=most), "count"))

    async def update(self, where: Where, change: Document) -> bool:
        """Whether a document matched. Raises Duplicate, Unstorable."""
        query = self.dialect.query(where)
        result = await self._run(lambda: self._collection.update_one(query, change), "update")
        return bool(result.matched_count)

    async def update_all(self, where: Where, change: Document) -> int:
        query = self.dialect.query(where)
        result = await self._run(lambda: self._collection.update_many(query, change), "update")
        return int(result.matched_count)

    async def replace_all(self, documents: Sequence[Document]) -> None:
        """Each takes the place of the document with its id; one that is gone is not made anew. Raises Unstorable."""
        if documents:
            writes = [ReplaceOne({"_id": document["_id"]}, stamped(self.name, document)) for document in documents]
            await self._run(lambda: self._collection.bulk_write(writes, ordered=False), "write")

    async def delete(self, where: Where) -> bool:
        query = self.dialect.query(where)
        result = await self._run(lambda: self._collection.delete_one(query), "delete")
        return bool(result.deleted_count)

    async def delete_all(self, where: Where) -> None:
        query = self.dialect.query(where)
        await self._run(lambda: self._collection.delete_many(query), "delete")

    async def _find(self, query: Document, fields: Fields | None, order: Order | None, limit: int) -> list[Document]:
        if limit == 1:
            row = await self._run(lambda: self._collection.find_one(query, fields, sort=order), "find")
            return [row] if row is not None else []
        cursor = self._collection.find(query, fields, limit=limit)
        if order is not None:
            cursor = cursor.sort(list(order))
        return await self._run(lambda: cursor.to_list(None), "find")


def _differs(document: Document, name: str, value: object) -> bool:
    """1, 1.0 and True are equal, and not the same."""
    return name not in document or document[name] != value or type(document[name]) is not type(value)
