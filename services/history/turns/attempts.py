"""Attempts: started by the claim that holds the lease, released by a drain; tool calls that must not be repeated."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from services.history.mongo.client import Database
from services.history.mongo.filters import Document
from services.history.settings import HistorySettings
from services.history.turns.erasure import Erasure
from services.history.turns.finalize import TurnFinalizer
from services.history.turns.record import WITHOUT_TEXT, TurnRecord, milliseconds
from services.history.turns.verdicts import CANCELLED
from services.history.usage.entries import priced
from shared.contracts.turns import ModelUse, StartAttempt, StartedAttempt
from shared.turn_queue.queue import TurnQueue

REFUSED: Final = StartedAttempt(started=False)


class Attempts:
    def __init__(
        self,
        database: Database,
        queue: TurnQueue,
        finalizer: TurnFinalizer,
        erasure: Erasure,
        settings: HistorySettings,
    ) -> None:
        self._prices = settings.prices
        self._sessions = database.sessions
        self._turns = database.turns
        self._queue = queue
        self._finalizer = finalizer
        self._erasure = erasure
        self._lost = finalizer.lost
        self._turn_timeout_s = settings.turn_timeout_s

    async def start(self, workspace: str, turn_id: str, start: StartAttempt) -> StartedAttempt:
        """Raises the attempt while the lease names the claim. A repeat gets the same answer.

        The lease is checked after the claim read the document (or, for a claim with a snapshot, after admission wrote
        it). Nobody who got the lease later can therefore have raised this attempt.
        A turn that was admitted into an ended session is ended or erased. Raises ApiError, RedisError or OSError while
        a store is away.
        """
        if start.admitted_at is not None and (
            started := await self._start_as_admitted(workspace, turn_id, start, start.admitted_at)
        ):
            return started
        holds, session_status, row = await asyncio.gather(
            self._holds(turn_id, start.claim_id),
            self._session_status(workspace, start.session_id),
            self._turns.one({"_id": turn_id, "workspace": workspace}, WITHOUT_TEXT),
        )
        if not holds or row is None:
            return REFUSED
        # A check's turns share a session id without a session.
        if session_status != "active" and "check" not in row:
            await self._reject(workspace, turn_id, start, session_status)
            return REFUSED
        record = TurnRecord.model_validate(row)
        if record.attempt == start.attempt - 1:
            await self._lost.note(record)
        mine = {
            "_id": turn_id,
            "workspace": workspace,
            "active": True,
            "attempt": start.attempt,
            "claimId": start.claim_id,
        }
        if await self._raise_attempt(workspace, turn_id, start) or await self._turns.one(mine, {"_id": 1}):
            now = datetime.now(UTC)
            return StartedAttempt(
                started=True,
                cancel_requested=record.cancel_requested,
                waited_ms=milliseconds((record.first_claim_at or now) - record.created_at),
                remaining_s=remaining_s(record, now, self._turn_timeout_s),
            )
        return REFUSED

    async def _start_as_admitted(
        self, workspace: str, turn_id: str, start: StartAttempt, admitted_at: datetime
    ) -> StartedAttempt | None:
        """A first attempt from the claim snapshot. It reads nothing: the filter checks that nothing changed meanwhile.

        Nor does it ask whether the session has ended: whoever ends a session cancels its active turn, and the
        reconciler finds the turn that was not seen. None: something has changed, so the turn must be read.
        """
        if not await self._holds(turn_id, start.claim_id):
            return REFUSED
        if not await self._raise_attempt(workspace, turn_id, start, cancelRequested=None):
            return None
        return StartedAttempt(
            started=True, waited_ms=milliseconds(datetime.now(UTC) - admitted_at), remaining_s=self._turn_timeout_s
        )

    async def _raise_attempt(self, workspace: str, turn_id: str, start: StartAttempt, **still: None) -> bool:
        """The filter names the previous attempt, so a repeat of this write counts nothing twice."""
        before = {"_id": turn_id, "workspace": workspace, "active": True, "attempt": start.attempt - 1, **still}
        change: Document = {
            "$set": {"attempt": start.attempt, "claimId": start.claim_id, "status": "running", "released": False},
            "$inc": {"tries": 1},
            "$min": {"firstClaimAt": datetime.now(UTC)},
        }
        return await self._turns.update(before, change)

    async def _holds(self, turn_id: str, claim_id: str) -> bool:
        return await self._queue.holder(turn_id) == claim_id

    async def _session_status(self, workspace: str, session_id: str | None) -> str:
        """A completion has no session that could have ended."""
        if session_id is None:
            return "active"
        session = await self._sessions.one({"_id": session_id, "workspace": workspace}, {"status": 1})
        return str(session["status"]) if session is not None else "deleted"

    async def _reject(self, workspace: str, turn_id: str, start: StartAttempt, session_status: str) -> None:
        row = await self._turns.one({"_id": turn_id, "workspace": workspace, "active": True}, WITHOUT_TEXT)
        if row is None or not await self._holds(turn_id, start.claim_id):
            return
        record = TurnRecord.model_validate(row)
        if session_status == "deleted" and record.session_id is not None:
            await self._erasure.erase_again(workspace, record.session_id)
        else:
            await self._finalizer.end(record, CANCELLED)

    async def release(self, workspace: str, turn_id: str, attempt: int, uses: Sequence[ModelUse] = ()) -> None:
        """Returns a try, once per attempt: a drain does not count towards the limit."""
        await self.spend(workspace, turn_id, attempt, uses)
        mine = {"_id": turn_id, "workspace": workspace, "active": True, "attempt": attempt, "released": False}
        await self._turns.update(mine, {"$inc": {"tries": -1}, "$set": {"released": True, "status": "queued"}})

    async def spend(self, workspace: str, turn_id: str, attempt: int, uses: Sequence[ModelUse]) -> None:
        """Notes all that an attempt has used. The ledger adds it to the turn's end, unless this attempt makes the end.

        An attempt that was fenced may tell it too, until the turn has ended. Nothing is noted as well: then nothing is
        estimated for it.
        """
        active = {"_id": turn_id, "workspace": workspace, "active": True}
        await self._turns.update(active, {"$set": self._spent(attempt, uses)})

    def _spent(self, attempt: int, uses: Sequence[ModelUse]) -> Document:
        return {f"spent.{attempt}": priced(uses, self._prices)}

    async def start_call(
        self, workspace: str, turn_id: str, attempt: int, call_key: str, uses: Sequence[ModelUse] = ()
    ) -> bool:
        """Records a tool call that must never be repeated, and what the attempt has used before it.

        False: the attempt no longer owns the turn.
        """
        mine = {"_id": turn_id, "workspace": workspace, "active": True, "attempt": attempt}
        change: Document = {"$addToSet": {"startedCalls": call_key}}
        if uses:
            change["$set"] = self._spent(attempt, uses)
        return await self._turns.update(mine, change)


def remaining_s(record: TurnRecord, now: datetime, turn_timeout_s: float) -> float:
    """Seconds to the turn's deadline, which runs from its first claim."""
    return turn_timeout_s - (now - (record.first_claim_at or now)).total_seconds()
