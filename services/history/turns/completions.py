"""Stored completions: listed, labelled and erased. They are turns, and `turns.py` reads a single one."""

from datetime import UTC, datetime, timedelta
from typing import Final

from services.history.mongo.client import Database
from services.history.mongo.dialect import Direction, IdField
from services.history.mongo.filters import all_of, one_of
from services.history.settings import HistorySettings
from services.history.turns.record import TurnRecord, labels_of
from shared.contracts.errors import ApiError, Code
from shared.contracts.turns import StoredTurn
from shared.run_log.reader import RunLogs

_IDS: Final = IdField("storedId", "trn")
# A failed turn has no completion to show.
SHOWN: Final = one_of(("completed", "cancelled"))


class Completions:
    def __init__(self, database: Database, logs: RunLogs, settings: HistorySettings) -> None:
        self._turns = database.turns
        self._logs = logs
        self._tombstone_life = timedelta(seconds=settings.completion_keep_s)

    async def page(
        self,
        workspace: str,
        agent_id: str | None,
        labels: list[str],
        direction: Direction,
        after: str | None,
        limit: int,
    ) -> tuple[list[StoredTurn], str | None]:
        """Stored completions beyond the id `after`, without their callers' messages, and the id to continue from."""
        where = {"workspace": workspace, "status": SHOWN}
        if agent_id is not None:
            where["agentId"] = agent_id
        if labels:
            where["labels"] = all_of(labels)
        rows, following = await self._turns.page(where, _IDS, direction, after, limit, {"input": 0})
        return [TurnRecord.model_validate(row).stored() for row in rows], following

    async def label(self, workspace: str, turn_id: str, metadata: dict[str, str]) -> StoredTurn:
        """Raises `turn_not_found`."""
        where = {"_id": turn_id, "workspace": workspace, "storedId": turn_id, "status": SHOWN}
        if not await self._turns.update(where, {"$set": {"labels": labels_of(metadata)}}):
            raise ApiError(Code.TURN_NOT_FOUND)
        row = await self._turns.one(where)
        if row is None:
            raise ApiError(Code.TURN_NOT_FOUND)
        return TurnRecord.model_validate(row).stored()

    async def erase(self, workspace: str, turn_id: str) -> None:
        """Removes the texts.

        A tombstone stays for a while, so that a repeat of its idempotency key is answered with `gone`. The log goes
        first: an interrupted erasure is then not taken for a complete one. Raises `turn_not_found`.
        """
        where = {"_id": turn_id, "workspace": workspace, "active": False, "store": True}
        if await self._turns.one(where, {"_id": 1}) is None:
            raise ApiError(Code.TURN_NOT_FOUND)
        await self._logs.erase(workspace, turn_id)
        gone = ("completion", "metadata", "labels", "storedId", "gap", "gapReason", "gapId")
        change = {
            "$set": {"erased": True, "input": [], "output": [], "expiresAt": datetime.now(UTC) + self._tombstone_life},
            "$unset": dict.fromkeys(gone, ""),
        }
        await self._turns.update(where, change)
