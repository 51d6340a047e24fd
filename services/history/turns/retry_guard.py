"""The guard against blind repeats: an SDK that lost an answer sends the request again, and neither request names the other.

Under the guard equal completions of one key share a retry key. A retry looks for what it repeats; one that finds nothing was
faster than its original, or is all that arrived: it becomes an **orphan**, of which the store admits one per retry key. Both sides
look once more after their own insert, so at least one of them sees the other, and the orphan's document decides between them:

- the original takes the orphan over (`orphan` goes, `replaces` comes) and then withdraws its own turn, or
- the retry withdraws its own turn while it is still an orphan.

Only one of these two writes can succeed. A turn that a further retry was answered with (`joined`), or that a worker has claimed,
is not withdrawn any more: should it come to that, both turns run, and nobody waits for a turn that is gone.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from services.history.mongo.client import Database
from services.history.mongo.filters import Document, above
from services.history.turns.record import WITHOUT_TEXT, TurnRecord
from shared.contracts.turns import AdmitTurn
from shared.ids import id_at
from shared.log import get_logger

log = get_logger()

# How long after its end a turn is still the answer to a blind repeat, and how old it may be then.
RETRY_WINDOW: Final = timedelta(seconds=60)
RETRY_REACH: Final = timedelta(hours=3)
# An orphan and an original this young are about to settle which of them stands. If one of their processes has died, nothing comes.
UNSETTLED: Final = timedelta(seconds=1)
LOOK_AGAIN_S: Final = 0.02
LOOKS: Final = 100
# Of one retry key; an equal request may be meant any number of times.
NEWEST: Final = 20


def guard_marks(order: AdmitTurn) -> Document:
    """What the guard needs in a new turn's document."""
    if order.retry_key is None:
        return {}
    orphan = {"orphan": order.retry_key} if order.is_retry else {}
    return {"retryKey": order.retry_key, "joined": False, **orphan}


class RetryGuard:
    """Each question costs nothing for an order without a retry key."""

    def __init__(self, database: Database) -> None:
        self._turns = database.turns

    async def repeated(self, workspace: str, order: AdmitTurn) -> TurnRecord | None:
        """The turn that a blind repeat repeats, if it runs or has just ended and still has its text. It will not be withdrawn."""
        if order.retry_key is None or not order.is_retry:
            return None
        for _ in range(LOOKS):
            equals = await self._equals(workspace, order.retry_key)
            if not equals:
                return None
            if not _unconfirmed(equals) and (record := await self._joined(equals[0], order)) is not None:
                return record
            await asyncio.sleep(LOOK_AGAIN_S)
        return None

    async def in_the_way(self, workspace: str, order: AdmitTurn) -> TurnRecord | None:
        """After an insert that was refused: the orphan that stands already. None: it is nobody's answer any more, and gone."""
        if order.retry_key is None or not order.is_retry:
            return None
        row = await self._turns.one({"workspace": workspace, "orphan": order.retry_key})
        if row is None:
            return None
        orphan = TurnRecord.model_validate(row)
        if _answers(orphan, order.retry_key, datetime.now(UTC)):
            return await self.repeated(workspace, order)
        await self._turns.update({"_id": orphan.id, "orphan": order.retry_key}, {"$unset": {"orphan": ""}})
        return None

    async def confirmed(self, record: TurnRecord, order: AdmitTurn) -> TurnRecord | None:
        """After the insert of `record`: the turn that stands in the end. None: `record` was withdrawn for one that has gone meanwhile."""
        if order.retry_key is None:
            return record
        if order.is_retry:
            return await self._give_way(record, order, order.retry_key)
        return await self._take_over(record, order.retry_key)

    async def _give_way(self, record: TurnRecord, order: AdmitTurn, key: str) -> TurnRecord | None:
        others = [other for other in await self._equals(record.workspace, key) if other.id != record.id]
        if not others or not await self._withdraw(record, orphan=key):
            return record
        return await self.repeated(record.workspace, order)

    async def _take_over(self, record: TurnRecord, key: str) -> TurnRecord:
        row = await self._turns.one({"workspace": record.workspace, "orphan": key})
        if row is None:
            return record
        orphan, now = TurnRecord.model_validate(row), datetime.now(UTC)
        if not _answers(orphan, key, now) or now - orphan.created_at > RETRY_WINDOW:
            return record
        change = {"$set": {"replaces": record.id}, "$unset": {"orphan": ""}}
        if not await self._turns.update({"_id": orphan.id, "workspace": record.workspace, "orphan": key}, change):
            return record
        if await self._withdraw(record):
            return orphan
        log.warning("retry_runs_beside_original", turn_id=record.id, retry_turn_id=orphan.id)
        return record

    async def _withdraw(self, record: TurnRecord, **still: str) -> bool:
        where = {
            "_id": record.id,
            "workspace": record.workspace,
            "active": True,
            "attempt": 0,
            "joined": False,
            **still,
        }
        return await self._turns.delete(where)

    async def _joined(self, record: TurnRecord, order: AdmitTurn) -> TurnRecord | None:
        """The whole turn, which from now on is there to stay. None: it has gone, or ended, since it was read."""
        where = {"_id": record.id, "workspace": record.workspace}
        stays = not record.active or record.id == order.turn_id
        if not stays and not await self._turns.update({**where, "active": True}, {"$set": {"joined": True}}):
            return None
        row = await self._turns.one(where)
        return TurnRecord.model_validate(row) if row is not None else None

    async def _equals(self, workspace: str, key: str) -> list[TurnRecord]:
        """The turns of a retry key that can answer a repeat, the newest first. One that is being replaced is none of them."""
        now = datetime.now(UTC)
        recent = above(id_at("trn", int((now - RETRY_REACH).timestamp() * 1000)))
        where: dict[str, Any] = {"workspace": workspace, "retryKey": key, "_id": recent}
        rows = await self._turns.many(where, fields=WITHOUT_TEXT, order=[("_id", -1)], limit=NEWEST)
        records = [TurnRecord.model_validate(row) for row in rows]
        replaced = {record.replaces for record in records}
        return [record for record in records if record.id not in replaced and _answers(record, key, now)]


def _answers(record: TurnRecord, key: str, now: datetime) -> bool:
    """Whether a repeat may be answered with the turn. One that failed for a passing reason has given its retry key back."""
    return (
        record.retry_key == key
        and not record.erased
        and (record.ended_at is None or now - record.ended_at <= RETRY_WINDOW)
    )


def _unconfirmed(equals: list[TurnRecord]) -> bool:
    """Whether an orphan stands beside an original that is as new, so that one of them is about to go."""
    originals = [record.created_at for record in equals if record.orphan is None]
    orphans = [record.created_at for record in equals if record.orphan is not None]
    return bool(originals and orphans) and datetime.now(UTC) - max(originals + orphans) < UNSETTLED
