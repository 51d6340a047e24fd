"""One turn of a session, erased alone: what a client does that deletes a response."""

from typing import Final

from services.history.audit.records import PENDING, Audit, audit_entry
from services.history.mongo.client import Database
from services.history.mongo.filters import Document, above
from services.history.turns.context import Contexts
from services.history.turns.record import USAGE_ONLY
from shared.contracts.errors import ApiError, Code
from shared.run_log.reader import RunLogs

_FIELDS: Final = {"workspace": 1, "sessionId": 1, "active": 1, "erased": 1, PENDING: 1}
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
    def __init__(self, database: Database, logs: RunLogs, contexts: Contexts, audit: Audit) -> None:
        self._turns = database.turns
        self._logs = logs
        self._contexts = contexts
        self._audit = audit

    async def erase(self, workspace: str, turn_id: str, actor: str | None = None) -> None:
        """Removes the texts; the turn keeps its number and its usage. Idempotent.

        The log goes first: an interrupted erasure is then not taken for a complete one. Raises `turn_not_found`, and
        `turn_in_progress` for a turn that has not ended.
        """
        where = {"_id": turn_id, "workspace": workspace, "sessionId": above(""), USAGE_ONLY: None}
        row = await self._turns.one(where, _FIELDS)
        if row is None:
            raise ApiError(Code.TURN_NOT_FOUND)
        if row["active"]:
            raise ApiError(Code.TURN_IN_PROGRESS, "Cancel it first.", members={"activeTurnId": turn_id})
        await self._logs.erase(workspace, turn_id)
        emptied = {"erased": True, "input": [], "output": [], "checkedInput": None}
        change: Document = {"$set": emptied, "$unset": dict.fromkeys(_GONE, "")}
        if not row.get("erased"):
            change["$push"] = {PENDING: audit_entry("response.deleted", turn_id, actor)}
        await self._turns.update({**where, "active": False}, change)
        self._contexts.forget(workspace, row["sessionId"])
        if (row := await self._turns.one(where, _FIELDS)) is not None:
            await self._audit.deliver(self._turns, row)
