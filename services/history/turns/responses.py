"""One turn of a session, erased alone: what a client does that deletes a response."""

from typing import Final

from services.history.audit.records import PENDING, Audit, audit_entry
from services.history.mongo.client import Database
from services.history.mongo.filters import Document, above
from services.history.turns.branches import also_hidden, ranges_of
from services.history.turns.context import Contexts
from services.history.turns.record import USAGE_ONLY
from services.history.turns.redis_erasure import RedisErasure
from shared.contracts.errors import ApiError, Code

PAGE: Final = 100
_FIELDS: Final = {"workspace": 1, "sessionId": 1, "n": 1, "active": 1, "erased": 1, PENDING: 1}
_GONE: Final = (
    "completion",
    "metadata",
    "variables",
    "words",
    "place",
    "unindexed",
    "gap",
    "gapReason",
    "gapId",
    "feedback",
    "error",
)


class Responses:
    def __init__(self, database: Database, in_redis: RedisErasure, contexts: Contexts, audit: Audit) -> None:
        self._sessions = database.sessions
        self._turns = database.turns
        self._in_redis = in_redis
        self._contexts = contexts
        self._audit = audit

    async def erase(self, workspace: str, turn_id: str, actor: str | None = None) -> None:
        """Removes the texts; the turn keeps its number and its usage. Idempotent.

        Later turns hide it: another process may still have its messages cached, and must not send them to a model.
        The log goes first: an interrupted erasure is then not taken for a complete one. Raises `turn_not_found`, and
        `turn_in_progress` for a turn that has not ended.
        """
        where = {"_id": turn_id, "workspace": workspace, "sessionId": above(""), USAGE_ONLY: None}
        row = await self._turns.one(where, _FIELDS)
        if row is None:
            raise ApiError(Code.TURN_NOT_FOUND)
        if row["active"]:
            raise ApiError(Code.TURN_IN_PROGRESS, "Cancel it first.", members={"activeTurnId": turn_id})
        await self._in_redis.erase(workspace, [turn_id])
        emptied = {"erased": True, "input": [], "output": [], "checkedInput": None}
        change: Document = {"$set": emptied, "$unset": dict.fromkeys(_GONE, "")}
        if not row.get("erased"):
            change["$push"] = {PENDING: audit_entry("response.deleted", turn_id, actor)}
        await self._turns.update({**where, "active": False}, change)
        await self._hide(workspace, row["sessionId"], row["n"])
        self._contexts.forget(workspace, row["sessionId"])
        if (row := await self._turns.one(where, _FIELDS)) is not None:
            await self._audit.deliver(self._turns, row)

    async def _hide(self, workspace: str, session_id: str, number: int) -> None:
        """From the turns that come, and from those that may be named as the parent of one."""
        session = {"_id": session_id, "workspace": workspace}
        if (row := await self._sessions.one(session, {"hidden": 1})) is not None:
            await self._sessions.update(session, _hiding(row, number))
        after = number
        while True:
            where = {"workspace": workspace, "sessionId": session_id, "n": above(after)}
            rows = await self._turns.many(where, fields={"n": 1, "hidden": 1}, order=[("n", 1)], limit=PAGE)
            for row in rows:
                await self._turns.update({"_id": row["_id"], "workspace": workspace}, _hiding(row, number))
            if len(rows) < PAGE:
                return
            after = rows[-1]["n"]


def _hiding(row: Document, number: int) -> Document:
    hidden = also_hidden(ranges_of(row.get("hidden")), number)
    return {"$set": {"hidden": [list(each) for each in hidden]}}
