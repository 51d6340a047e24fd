"""Commands wait for MongoDB while it is away, where a process would refuse its callers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, TypeVar

from services.history.mongo.collection import Collection
from services.history.mongo.dialect import Fields
from services.history.mongo.filters import Document
from shared.backoff import backoff
from shared.contracts.errors import ApiError, Code

T = TypeVar("T")

PATIENCE_S: Final = 60.0
FIRST_PAUSE_S: Final = 0.2
LAST_PAUSE_S: Final = 5.0


class NoAnswer(Exception):
    """A store has not answered for a minute, or refuses."""

    def __str__(self) -> str:
        return "a store does not answer, or refuses: see the last line of the log, and run the same command again"


async def patiently(operation: Callable[[], Awaitable[T]]) -> T:
    """Repeats a call while a store is away, for a minute. Raises NoAnswer after that.

    The call may be repeated.
    """
    until = asyncio.get_running_loop().time() + PATIENCE_S
    pauses = backoff(FIRST_PAUSE_S, LAST_PAUSE_S)
    while True:
        try:
            return await operation()
        except ApiError as error:
            if error.code is not Code.DEPENDENCY_UNAVAILABLE:
                raise
            if asyncio.get_running_loop().time() > until:
                raise NoAnswer from None
            await asyncio.sleep(next(pauses))


async def batches(
    collection: Collection, *, after: str = "", below: str | None = None, fields: Fields | None = None
) -> AsyncIterator[list[Document]]:
    """As `Collection.scan`. A cursor that broke is opened again behind the last document. Raises NoAnswer."""
    cursor = collection.scan(after, below=below, fields=fields)

    async def following() -> list[Document]:
        nonlocal cursor
        try:
            return await anext(cursor, [])
        except ApiError:  # The generator has ended with it.
            cursor = collection.scan(after, below=below, fields=fields)
            raise

    try:
        while rows := await patiently(following):
            after = rows[-1]["_id"]
            yield rows
    finally:
        await cursor.aclose()
