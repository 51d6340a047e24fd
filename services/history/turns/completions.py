"""Stored completions: listed, labelled and erased. They are turns, and `turns.py` reads a single one."""

from datetime import UTC, datetime, timedelta
from typing import Final

from services.history.audit.records import PENDING, Audit, audit_entry
from services.history.mongo.client import Database
from services.history.mongo.dialect import Direction, IdField
from services.history.mongo.filters import Document, above, all_of, one_of
from services.history.settings import HistorySettings
from services.history.turns.record import TurnRecord, labels_of
from services.history.turns.redis_erasure import RedisErasure
from services.history.usage.ledger import Ledger
from shared.contracts.errors import ApiError, Code
from shared.contracts.turns import StoredTurn

_IDS: Final = IdField("storedId", "trn")
_AUDITED: Final = {"workspace": 1, "erased": 1, "unbilled": 1, PENDING: 1}
# A failed turn has no completion to show.
SHOWN: Final = one_of(("completed", "cancelled"))


class Completions:
    def __init__(
        self, database: Database, in_redis: RedisErasure, ledger: Ledger, audit: Audit, settings: HistorySettings
    ) -> None:
        self._turns = database.turns
        self._ledger = ledger
        self._in_redis = in_redis
        self._audit = audit
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

    async def erase(self, workspace: str, turn_id: str, actor: str | None = None) -> None:
        """Removes the texts.

        A tombstone stays for a while, so that a repeat of its idempotency key is answered with `gone`. The log goes
        first: an interrupted erasure is then not taken for a complete one. Raises `turn_not_found`.
        """
        where = {"_id": turn_id, "workspace": workspace, "active": False, "store": True}
        row = await self._turns.one(where, _AUDITED)
        if row is None:
            raise ApiError(Code.TURN_NOT_FOUND)
        if row.get("unbilled"):
            await self._ledger.must_bill(workspace)  # Whose use it is, is not known when it is erased.
        await self._in_redis.erase(workspace, [turn_id])
        gone = ("completion", "metadata", "labels", "storedId", "gap", "gapReason", "gapId", "endUserId")
        change: Document = {
            "$set": {
                "erased": True,
                "input": [],
                "output": [],
                "checkedInput": None,
                "expiresAt": datetime.now(UTC) + self._tombstone_life,
            },
            "$unset": dict.fromkeys(gone, ""),
        }
        if not row.get("erased"):
            change["$push"] = {PENDING: audit_entry("completion.deleted", turn_id, actor)}
        await self._turns.update(where, change)
        if (row := await self._turns.one(where, _AUDITED)) is not None:
            await self._audit.deliver(self._turns, row)

    async def reconcile(self, limit: int = 100) -> None:
        """Delivers audit entries that did not reach their collection."""
        for row in await self._turns.many({f"{PENDING}.id": above("")}, fields=_AUDITED, limit=limit):
            await self._audit.deliver(self._turns, row)
