"""How MongoDB is asked: the form of filters, indexes, single reads and pages.

A server that needs another form has a subclass.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from pymongo import IndexModel

from services.history.mongo.filters import Comparison, Document, Where, checked, present, within
from services.history.mongo.indexes import Index, index_model

Fields = Mapping[str, int]
Order = Sequence[tuple[str, int]]
Direction = Literal["asc", "desc"]
# Sends one `find`: filter, projection, order and limit (0: no limit).
Find = Callable[[Document, Fields | None, Order | None, int], Awaitable[list[Document]]]


class IdField(NamedTuple):
    """A member that holds ids of one prefix, so that its values sort by time."""

    name: str
    prefix: str


class PageQuery(NamedTuple):
    """One page: documents that match `where`, ordered by `by`, beyond the id `after`.

    `low` (included) and `high` (excluded) bound the ids in both directions.
    """

    where: Where
    by: IdField
    direction: Direction
    after: str | None
    limit: int
    fields: Fields | None = None
    low: str | None = None
    high: str | None = None
    collection: str = ""

    @property
    def order(self) -> Order:
        return [(self.by.name, 1 if self.direction == "asc" else -1)]


class Dialect:
    """The general form, for every MongoDB server."""

    def query(self, where: Where) -> Document:
        return {
            name: value.terms if isinstance(value, Comparison) else {"$eq": value}
            for name, value in checked(where).items()
        }

    def index(self, index: Index) -> IndexModel:
        return index_model(index)

    async def one(self, find: Find, where: Where, fields: Fields | None) -> Document | None:
        rows = await find(self.query(where), fields, None, 1)
        return rows[0] if rows else None

    async def page(self, find: Find, page: PageQuery) -> list[Document]:
        """Up to `limit` + 1 documents: the one too many says that another page follows.

        The last member of an index is `page.by`, and `page.where` fills its other members, so the server reads in order
        and stops.
        """
        if page.direction == "asc":
            beyond = within(gt=page.after, gte=page.low, lt=page.high)
        else:
            beyond = within(gte=page.low, lt=min(filter(None, (page.after, page.high)), default=None))
        if not beyond.terms and page.by.name != "_id":
            beyond = present()  # A partial index serves only queries that ask for its member.
        where = {**page.where, page.by.name: beyond} if beyond.terms else page.where
        return await find(self.query(where), page.fields, page.order, page.limit + 1)
