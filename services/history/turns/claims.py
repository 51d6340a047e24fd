"""What a worker that holds a turn's lease may do: claim the turn, begin an attempt at it, give it back, and record a call that must
never be repeated.
"""

import asyncio
from datetime import UTC, datetime
from typing import Final

from aiohttp import web
from pydantic import BaseModel, Field

from services.history.agents.versions import DRAFT, Agents
from services.history.api.bodies import TURN, part, read_schema
from services.history.mongo.client import Document, Store
from services.history.settings import HistorySettings
from services.history.turns.context import Contexts
from services.history.turns.finalize import CANCELLED, OUT_OF_TRIES, TOO_LATE, TurnFinalizer, Verdict
from services.history.turns.record import WITHOUT_TEXT, TurnRecord, milliseconds
from shared.contracts.turns import ClaimedTurn, ClaimTurn, StartAttempt, StartedAttempt
from shared.turn_queue.queue import TurnQueue
from shared.web.bodies import json_response

NOTHING_TO_DO: Final = ClaimedTurn(run=False).wire()
REFUSED: Final = StartedAttempt(started=False)


class Release(BaseModel):
    attempt: int


class StartCall(BaseModel):
    attempt: int
    call_key: str = Field(alias="callKey", min_length=1, max_length=500)


class Claims:
    def __init__(
        self,
        store: Store,
        queue: TurnQueue,
        agents: Agents,
        contexts: Contexts,
        finalizer: TurnFinalizer,
        settings: HistorySettings,
    ) -> None:
        self._sessions = store.sessions
        self._turns = store.turns
        self._queue = queue
        self._agents = agents
        self._contexts = contexts
        self._finalizer = finalizer
        self._max_tries = settings.max_tries
        self._turn_timeout_s = settings.turn_timeout_s

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post(TURN + "/claim", self._post_claim),
            web.post(TURN + "/attempts", self._post_attempt),
            web.post(TURN + "/release", self._post_release),
            web.post(TURN + "/calls", self._post_call),
        ]

    # --- rules

    async def claim(self, workspace: str, turn_id: str, claim: ClaimTurn) -> Document:
        """A ClaimedTurn as it goes over the wire: all that an attempt needs. It reads only, so that the model can be asked at once.

        A turn that has no try or no time left is ended instead. Raises ApiError, RedisError or OSError while a store is away.
        """
        row = await self._turns.one({"_id": turn_id, "workspace": workspace})
        if row is None:
            return NOTHING_TO_DO
        record = TurnRecord.model_validate(row)
        if not record.active:
            return NOTHING_TO_DO
        now = datetime.now(UTC)
        if record.claim_id != claim.claim_id and (verdict := self._verdict(record, now)) is not None:
            # Only in the name of who holds it: a result may be on its way, and must not be overruled.
            if await self._holds(record.id, claim.claim_id):
                await self._finalizer.end(record, verdict)
            return NOTHING_TO_DO
        return await self._claimed(record, claim)

    async def start(self, workspace: str, turn_id: str, start: StartAttempt) -> StartedAttempt:
        """Raises the attempt while the lease names the claim. The same again is told the same.

        The lease is looked at after the claim read the document (or admission wrote it, for a claim that has the turn's brief): so
        nobody who got the lease later can have raised this attempt.
        A turn that slipped into a session that had ended is ended or erased. Raises ApiError, RedisError or OSError while a store
        is away.
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
        if session_status != "active":
            await self._turn_away(workspace, turn_id, start, session_status)
            return REFUSED
        mine = {
            "_id": turn_id,
            "workspace": workspace,
            "active": True,
            "attempt": start.attempt,
            "claimId": start.claim_id,
        }
        if await self._raise_attempt(workspace, turn_id, start) or await self._turns.one(mine, {"_id": 1}):
            record, now = TurnRecord.model_validate(row), datetime.now(UTC)
            return StartedAttempt(
                started=True,
                cancel_requested=record.cancel_requested,
                waited_ms=milliseconds((record.first_claim_at or now) - record.created_at),
                remaining_s=self._remaining_s(record, now),
            )
        return REFUSED

    async def _start_as_admitted(
        self, workspace: str, turn_id: str, start: StartAttempt, admitted_at: datetime
    ) -> StartedAttempt | None:
        """A first attempt by the turn's brief, without a read: the write itself finds out whether all is still as it was admitted.

        Its session has not ended before: who ends one looks for its active turn then, and a brief is given only once the session was
        seen active behind the turn's insert. None: something has changed, so that it must be read.
        """
        if not await self._holds(turn_id, start.claim_id):
            return REFUSED
        if not await self._raise_attempt(workspace, turn_id, start, cancelRequested=None):
            return None
        return StartedAttempt(
            started=True, waited_ms=milliseconds(datetime.now(UTC) - admitted_at), remaining_s=self._turn_timeout_s
        )

    async def _raise_attempt(self, workspace: str, turn_id: str, start: StartAttempt, **still: None) -> bool:
        """The filter names the attempt before, so a repeat of this write finds nothing to count."""
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
        """A completion's session, which there is none of, has always time for it."""
        if session_id is None:
            return "active"
        session = await self._sessions.one({"_id": session_id, "workspace": workspace}, {"status": 1})
        return str(session["status"]) if session is not None else "deleted"

    async def _turn_away(self, workspace: str, turn_id: str, start: StartAttempt, session_status: str) -> None:
        row = await self._turns.one({"_id": turn_id, "workspace": workspace, "active": True}, WITHOUT_TEXT)
        if row is None or not await self._holds(turn_id, start.claim_id):
            return
        if session_status == "deleted":
            await self._finalizer.erase_turn(TurnRecord.model_validate(row))
        else:
            await self._finalizer.end(TurnRecord.model_validate(row), CANCELLED)

    def _verdict(self, record: TurnRecord, now: datetime) -> Verdict | None:
        if self._remaining_s(record, now) <= 0:
            return TOO_LATE
        return OUT_OF_TRIES if record.tries >= self._max_tries else None

    def _remaining_s(self, record: TurnRecord, now: datetime) -> float:
        return self._turn_timeout_s - (now - (record.first_claim_at or now)).total_seconds()

    async def _claimed(self, record: TurnRecord, claim: ClaimTurn) -> Document:
        agent = await self._agents.version(record.workspace, record.agent_id, record.agent_version)
        context = await self._contexts.before(record.workspace, record.session_id, record.n, agent.config.limits)
        attempt = record.attempt if record.claim_id == claim.claim_id else record.attempt + 1
        return record.claimed(
            attempt, context, agent if not claim.knows_agent or record.agent_version == DRAFT else None
        )

    async def release(self, workspace: str, turn_id: str, attempt: int) -> None:
        """Gives a try back, once per attempt."""
        mine = {"_id": turn_id, "workspace": workspace, "active": True, "attempt": attempt, "released": False}
        await self._turns.update(mine, {"$inc": {"tries": -1}, "$set": {"released": True, "status": "queued"}})

    async def start_call(self, workspace: str, turn_id: str, attempt: int, call_key: str) -> bool:
        """Whether the call is recorded for an attempt that still owns the turn."""
        mine = {"_id": turn_id, "workspace": workspace, "active": True, "attempt": attempt}
        return await self._turns.update(mine, {"$addToSet": {"startedCalls": call_key}})

    # --- handlers

    async def _post_claim(self, request: web.Request) -> web.Response:
        claim = await read_schema(request, ClaimTurn)
        return json_response(await self.claim(part(request, "workspace"), part(request, "turn_id"), claim))

    async def _post_attempt(self, request: web.Request) -> web.Response:
        start = await read_schema(request, StartAttempt)
        return json_response((await self.start(part(request, "workspace"), part(request, "turn_id"), start)).wire())

    async def _post_release(self, request: web.Request) -> web.Response:
        body = await read_schema(request, Release)
        await self.release(part(request, "workspace"), part(request, "turn_id"), body.attempt)
        return web.Response(status=204)

    async def _post_call(self, request: web.Request) -> web.Response:
        body = await read_schema(request, StartCall)
        recorded = await self.start_call(
            part(request, "workspace"), part(request, "turn_id"), body.attempt, body.call_key
        )
        return json_response({"recorded": recorded})
