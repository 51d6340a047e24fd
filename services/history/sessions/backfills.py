"""Backfills of sessions and their turns: the labels of metadata, and the mark for the search of transcripts."""

from typing import Final

import orjson

from services.history.mongo.backfill import Backfill
from services.history.mongo.client import Database
from services.history.mongo.dialect import IdField
from services.history.mongo.filters import Document
from services.history.mongo.migrations import SEARCHED_TURNS
from services.history.sessions.sessions import SESSION_IDS
from services.history.turns.record import labels_of

_NO_METADATA: Final = "{}"
# Any of these says that the turn needs no mark.
_KNOWN: Final = ("check", "place", "unindexed")
_TURN_IDS: Final = IdField("_id", "trn")


def session_labels(database: Database) -> Backfill:
    """Sessions made before lists could be filtered by metadata have no labels."""

    async def visit(row: Document) -> bool:
        metadata = row.get("metadata", _NO_METADATA)
        if "labels" in row or metadata == _NO_METADATA:
            return False
        # An erasure removes the metadata: then the labels must not come back.
        where = {"_id": row["_id"], "workspace": row["workspace"], "metadata": metadata}
        return await database.sessions.update(where, {"$set": {"labels": labels_of(orjson.loads(metadata))}})

    fields = {"workspace": 1, "metadata": 1, "labels": 1}
    return Backfill(database, "session_labels", database.sessions, SESSION_IDS, fields, visit)


def searched_turns(database: Database) -> Backfill:
    """Turns that ended before transcripts were searched have no words, and no mark that they lack them.

    A history without the search removes the walk's position, so that the walk begins anew with the next that has it.
    """

    async def visit(row: Document) -> bool:
        if row.get("sessionId") is None or row.get("active") or not row.keys().isdisjoint(_KNOWN):
            return False
        # An erased turn names no session any more, and has nothing to be found.
        where = {
            "_id": row["_id"],
            "workspace": row["workspace"],
            "sessionId": row["sessionId"],
            "active": False,
        }
        return await database.turns.update(where, {"$set": {"unindexed": True}})

    fields = {"workspace": 1, "sessionId": 1, "active": 1, **dict.fromkeys(_KNOWN, 1)}
    return Backfill(database, SEARCHED_TURNS, database.turns, _TURN_IDS, fields, visit)
