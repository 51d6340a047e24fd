"""Schema versions of documents: old ones are migrated when they are read, indexes when history starts.

What is read is not written back; `parley migrate` writes the documents of earlier releases (`rewriting.py`).

A document carries `schemaVersion`; one without it was written before versions existed and counts as 0. To change the
form of a collection's documents: append a step to STEPS. A step is pure and takes a document of the version before. It
must accept a projection, in which members are missing. A document with a newer version than this process knows is used
as it is: members that this process does not know are ignored, so that two releases can run side by side during an
upgrade.
"""

from collections.abc import Callable, Sequence
from typing import Final

import pymongo
from pymongo.errors import OperationFailure

from services.history.mongo.dialect import Dialect, Fields
from services.history.mongo.driver import Driver, DriverCollection
from services.history.mongo.filters import Document
from services.history.mongo.indexes import INDEXES, RETIRED, TRANSCRIPT_WORDS

Step = Callable[[Document], Document]
VERSION: Final = "schemaVersion"
# The backfill of turns that ended without words for the search.
SEARCHED_TURNS: Final = "searched_turns"
_INDEX_NOT_FOUND: Final = 27
_INDEX_CONFLICT: Final = frozenset({85, 86})


def unchanged(document: Document) -> Document:
    """The step from unversioned documents to version 1, which have the same members."""
    return document


STEPS: Final[dict[str, tuple[Step, ...]]] = {
    "turns": (unchanged,),
    "sessions": (unchanged,),
    "agents": (unchanged,),
    "agent_versions": (unchanged,),
    "keys": (unchanged,),
    "workspaces": (unchanged,),
    "end_user_erasures": (unchanged,),
    "erased_logs": (unchanged,),
    "check_suites": (unchanged,),
    "check_runs": (unchanged,),
    "sources": (unchanged,),
    "backfills": (unchanged,),
    "restores": (unchanged,),
    "indexes": (unchanged,),
    "vectors": (unchanged,),
    "budgets": (unchanged,),
    "usage_days": (unchanged,),
    "end_user_usage_days": (unchanged,),
    "audit": (unchanged,),
    "passages": (unchanged,),
    "webhooks": (unchanged,),
    "webhook_deliveries": (unchanged,),
}


def stamped(collection: str, document: Document) -> Document:
    """A new document with the version that this process writes."""
    steps = STEPS.get(collection)
    return {VERSION: len(steps), **document} if steps is not None else document


def migrated(collection: str, document: Document) -> Document:
    """A stored document in the form of the newest version."""
    steps = STEPS.get(collection, ())
    version = document.get(VERSION, 0)
    if version >= len(steps):
        return document
    for step in steps[version:]:
        document = step(document)
    return {**document, VERSION: len(steps)}


def is_newer(collection: str, document: Document) -> bool:
    """Whether a newer release wrote the document."""
    return bool(document.get(VERSION, 0) > len(STEPS.get(collection, ())))


def is_older(collection: str, document: Document) -> bool:
    """Whether an earlier release wrote the document, and nobody has migrated it since."""
    return bool(document.get(VERSION, 0) < len(STEPS.get(collection, ())))


def with_version(collection: str, fields: Fields | None) -> Fields | None:
    """A projection that keeps the version: without it, a step would run twice on a document."""
    if collection in STEPS and fields is not None and 1 in fields.values():
        return {**fields, VERSION: 1}
    return fields


async def prepare(driver: Driver, dialect: Dialect, *, transcript_search: bool = True) -> None:
    """Builds every index, then drops those of earlier code. May be repeated, and run by several processes at once.

    Without the search of transcripts its index is not built. One that is there stays: nothing enters it any more, and
    another history may still read it.
    """
    if not transcript_search:
        # Before the first turn ends without words: once the search is on again, its walk must visit all turns anew.
        await driver.collection("backfills").delete_one({"_id": SEARCHED_TURNS})
    with pymongo.timeout(None):  # An index on a large collection takes as long as it takes.
        for name, indexes in INDEXES.items():
            collection, retired = driver.collection(name), RETIRED.get(name, ())
            models = [dialect.index(index) for index in indexes if transcript_search or index.name != TRANSCRIPT_WORDS]
            try:
                await collection.create_indexes(models)
            except OperationFailure as error:
                if error.code not in _INDEX_CONFLICT or not await _drop(collection, retired):
                    raise
                # The old index has the same definition under another name, so the two cannot exist side by side.
                await collection.create_indexes(models)
            await _drop(collection, retired)


async def _drop(collection: DriverCollection, names: Sequence[str]) -> bool:
    """Whether there was anything to drop."""
    existing = await collection.index_information() if names else {}
    dropped = [name for name in names if name in existing]
    for name in dropped:
        try:
            await collection.drop_index(name)
        except OperationFailure as error:
            if error.code != _INDEX_NOT_FOUND:  # Another history was faster.
                raise
    return bool(dropped)
