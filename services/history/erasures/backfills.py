"""The backfill of completions: whose they are, so that an end user's export and erasure find them."""

from typing import Final

import orjson

from services.history.mongo.backfill import Backfill
from services.history.mongo.client import Database
from services.history.mongo.dialect import IdField
from services.history.mongo.filters import Document

_IDS: Final = IdField("_id", "trn")


def completion_end_users(database: Database) -> Backfill:
    """Completions of earlier releases have their end user only within the text of the request."""

    async def visit(row: Document) -> bool:
        if "endUserId" in row or "completion" not in row:
            return False
        end_user = orjson.loads(row["completion"]).get("endUser")
        if end_user is None:
            return False
        # An erasure removes the text: then the end user must not come back.
        where = {"_id": row["_id"], "workspace": row["workspace"], "completion": row["completion"]}
        return await database.turns.update(where, {"$set": {"endUserId": end_user["id"]}})

    fields = {"workspace": 1, "endUserId": 1, "completion": 1}
    return Backfill(database, "completion_end_users", database.turns, _IDS, fields, visit)
