"""The guard against blind repeats: an SDK that lost an answer sends its request again, without naming the first.

Under the guard, equal completions of one key share a retry key. A retry looks for the turn that it repeats. If it finds
none, it was faster than its original, or the original never arrived: the retry becomes an **orphan**, and a unique
index admits one orphan per retry key. Both sides look once more after their own insert, so at least one of them sees
the other. Then one gives way:

- The original marks itself as withdrawing, takes the orphan over (`orphan` goes, `replaces` comes) and deletes itself.
- The retry deletes its own turn while that is still an orphan. An original that was withdrawing for it then stays.

The orphan's document decides: only one of these two writes can succeed. A turn that answered another retry (`joined`)
is not withdrawn any more, nor is one that a worker has claimed. An original that cannot withdraw leaves the orphan
alone, so the orphan gives way.

A process may be killed between any two of these writes, and an answer may be lost on its way. A withdrawal that was
begun is completed by whoever meets it: the repetition of the same call (`called_again`), which inserts the deleted turn
a second time, or the reconciler, which would enqueue it otherwise.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

from services.history.mongo.client import Database
from services.history.mongo.filters import Document, above, between
from services.history.turns.record import WITHOUT_TEXT, TurnRecord, record_of
from shared.backoff import backoff
from shared.contracts.turns import AdmitTurn
from shared.ids import id_at
from shared.log import get_logger

log = get_logger()

# How long after its end a turn still answers a blind repeat, and how old it may be then.
RETRY_WINDOW: Final = timedelta(seconds=60)
RETRY_REACH: Final = timedelta(hours=3)
# An orphan and an original that are this young are deciding which of them stays. After that, one of their processes has
# died. On a host with 25 times more to do than it has cores for, a decision took more than a second; callers of history
# wait for five.
UNDECIDED: Final = timedelta(seconds=5)
# The pauses between two looks add up to more than that.
LOOK_AGAIN_S: Final = 0.02
LAST_LOOK_AGAIN_S: Final = 0.32
LOOKS: Final = 40
# Turns of one retry key: an equal request may be meant any number of times.
NEWEST: Final = 20


def guard_marks(order: AdmitTurn) -> Document:
    """What the guard needs in a new turn's document."""
    if order.retry_key is None:
        return {}
    marks = {"retryKey": order.retry_key, "joined": False}
    if order.is_retry:
        return {**marks, "orphan": order.retry_key}
    return {**marks, "calledAgain": True} if order.called_again else marks


class RetryGuard:
    """No method reads or writes anything for an order without a retry key."""

    def __init__(self, database: Database) -> None:
        self._turns = database.turns

    async def repeated(self, workspace: str, order: AdmitTurn) -> TurnRecord | None:
        """The turn that a blind repeat repeats, if it is active or has just ended.

        It will not be withdrawn any more.
        """
        if order.retry_key is None or not order.is_retry:
            return None
        pauses = backoff(LOOK_AGAIN_S, LAST_LOOK_AGAIN_S)
        for _ in range(LOOKS):
            equals = await self._equals(workspace, order.retry_key)
            if not equals:
                return None
            if not _undecided(equals) and (record := await self._joined(_staying(equals), order)) is not None:
                return record
            await asyncio.sleep(next(pauses))
        return None

    async def in_the_way(self, workspace: str, order: AdmitTurn) -> TurnRecord | None:
        """After a refused insert: the orphan that exists already.

        None: it could answer nobody any more, and is an orphan no longer.
        """
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
        """After the insert of `record`: the turn that stays.

        None: `record` was withdrawn for a turn that is gone by now.
        """
        if order.retry_key is None:
            return record
        if order.is_retry:
            return await self._give_way(record, order, order.retry_key)
        return await self._take_over(record, order.retry_key, begun=order.called_again or record.withdrawing)

    async def withdrawn(self, record: TurnRecord) -> bool:
        """Completes a withdrawal that was cut off. False: there was none, or the turn stays. May be repeated.

        The turn of a repeated call may have been withdrawn before that call inserted it again.
        """
        if record.retry_key is None:
            return False
        if record.withdrawing:
            return await self._take_over(record, record.retry_key, begun=True) is not record
        return record.called_again and await self._taken_over(record, record.retry_key) not in (None, record)

    async def _give_way(self, record: TurnRecord, order: AdmitTurn, key: str) -> TurnRecord | None:
        others = [other for other in await self._equals(record.workspace, key) if other.id != record.id]
        if not others or not await self._withdraw(record, orphan=key):
            return record
        return await self.repeated(record.workspace, order)

    async def _take_over(self, record: TurnRecord, key: str, *, begun: bool) -> TurnRecord:
        """`begun`: another call may have taken an orphan over for this turn already."""
        row = await self._turns.one({"workspace": record.workspace, "orphan": key})
        if row is None:
            return await self._taken_over(record, key) or record if begun else record
        orphan, now = TurnRecord.model_validate(row), datetime.now(UTC)
        if not _answers(orphan, key, now) or now - orphan.created_at > RETRY_WINDOW:
            return record
        if not await self._turns.update(_withdrawable(record), {"$set": {"withdrawing": True}}):
            return await self._taken_over(record, key) or record
        taken = {"$set": {"replaces": record.id}, "$unset": {"orphan": ""}}
        if await self._turns.update({"_id": orphan.id, "workspace": record.workspace, "orphan": key}, taken):
            return await self._replaced(record, orphan)
        if (replacement := await self._taken_over(record, key)) is not None:
            return replacement
        mine = {"_id": record.id, "workspace": record.workspace}
        await self._turns.update(mine, {"$unset": {"withdrawing": ""}})
        return record

    async def _taken_over(self, record: TurnRecord, key: str) -> TurnRecord | None:
        """After another call: the turn that stays, if that call took an orphan over for this turn."""
        near = between(_id_at(record.created_at - 2 * RETRY_WINDOW), _id_at(record.created_at + 2 * RETRY_WINDOW))
        where = {"workspace": record.workspace, "retryKey": key, "_id": near}
        for row in await self._turns.many(where, fields={"replaces": 1}):
            if row.get("replaces") == record.id:
                replacement = record_of(await self._turns.one({"_id": row["_id"], "workspace": record.workspace}))
                return await self._replaced(record, replacement) if replacement is not None else None
        return None

    async def _replaced(self, record: TurnRecord, replacement: TurnRecord) -> TurnRecord:
        """The last step of a withdrawal. Several calls may come to it; only one of them deletes the turn."""
        mine = {"_id": record.id, "workspace": record.workspace}
        if await self._withdraw(record) or await self._turns.one(mine, {"_id": 1}) is None:
            return replacement
        log.warning("retry_runs_beside_original", turn_id=record.id, retry_turn_id=replacement.id)
        return record

    async def _withdraw(self, record: TurnRecord, **still: str) -> bool:
        return await self._turns.delete({**_withdrawable(record), **still})

    async def _joined(self, record: TurnRecord, order: AdmitTurn) -> TurnRecord | None:
        """The whole turn, which is not withdrawn any more.

        None: since it was read it has ended, was deleted, or started to withdraw.
        """
        where = {"_id": record.id, "workspace": record.workspace}
        stays = not record.active or record.id == order.turn_id
        if not stays:
            joinable: Document = {**where, "active": True}
            if _is_young(record):  # Else the process that wanted to withdraw it has died.
                joinable["withdrawing"] = None
            if not await self._turns.update(joinable, {"$set": {"joined": True}}):
                return None
        return record_of(await self._turns.one(where))

    async def _equals(self, workspace: str, key: str) -> list[TurnRecord]:
        """The turns of a retry key that can answer a repeat, the newest first. Those that are being replaced cannot."""
        now = datetime.now(UTC)
        where: Document = {"workspace": workspace, "retryKey": key, "_id": above(_id_at(now - RETRY_REACH))}
        rows = await self._turns.many(where, fields=WITHOUT_TEXT, order=[("_id", -1)], limit=NEWEST)
        records = [TurnRecord.model_validate(row) for row in rows]
        replaced = {record.replaces for record in records}
        return [record for record in records if record.id not in replaced and _answers(record, key, now)]


def _id_at(moment: datetime) -> str:
    """The ids of turns that were asked for later are above it."""
    return id_at("trn", int(moment.timestamp() * 1000))


def _answers(record: TurnRecord, key: str, now: datetime) -> bool:
    """Whether a repeat may be answered with the turn. A turn whose failure is retryable has lost its retry key."""
    return (
        record.retry_key == key
        and not record.erased
        and (record.ended_at is None or now - record.ended_at <= RETRY_WINDOW)
    )


def _withdrawable(record: TurnRecord) -> Document:
    """Matches the turn while nobody was answered with it and no worker has claimed it."""
    return {"_id": record.id, "workspace": record.workspace, "active": True, "attempt": 0, "joined": False}


def _is_young(record: TurnRecord) -> bool:
    return datetime.now(UTC) - record.created_at < UNDECIDED


def _pair(equals: list[TurnRecord]) -> tuple[TurnRecord, ...]:
    """The orphan and the newest original, if both are there."""
    orphan = next((record for record in equals if record.orphan is not None), None)
    original = next((record for record in equals if record.orphan is None), None)
    return (orphan, original) if orphan is not None and original is not None else ()


def _undecided(equals: list[TurnRecord]) -> bool:
    """Whether an orphan and an original are so young that one of them is about to give way."""
    return any(map(_is_young, _pair(equals)))


def _staying(equals: list[TurnRecord]) -> TurnRecord:
    """The newest turn. Of an orphan beside an original the earlier one: the later insert has seen it, and gives way."""
    return min(_pair(equals) or equals[:1], key=lambda record: record.created_at)
