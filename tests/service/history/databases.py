"""Databases that one test uses after another. Making their indexes takes longer than most tests, emptying them does
not.

A test that looks at indexes, or at what a first start makes, names a database of its own.
"""

from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import uuid4

from pymongo import AsyncMongoClient

# One that was just used rests: a call of its last user may still be under way.
RESTING: Final = 3
# Deleting more documents takes longer than making the indexes anew.
MOST_DOCUMENTS: Final = 500
_USED: Final[defaultdict[str, deque[str]]] = defaultdict(deque)


@asynccontextmanager
async def empty_database(uri: str) -> AsyncIterator[str]:
    """The name of a database without a document, for this user alone."""
    used = _USED[uri]
    name = used.popleft() if len(used) > RESTING else f"test_{uuid4().hex}"
    async with AsyncMongoClient[dict[str, Any]](uri) as client:
        database = client[name]
        for collection in await database.list_collection_names():
            await database[collection].delete_many({})
        yield name
        counts = [
            await database[collection].estimated_document_count()
            for collection in await database.list_collection_names()
        ]
    if sum(counts) <= MOST_DOCUMENTS:
        used.append(name)
