"""What a worker that holds a turn's lease may do: claim the turn, give it back, and record a call that must never be repeated."""

import asyncio
from datetime import UTC, datetime
from typing import Final

from aiohttp import web
from pydantic import BaseModel, Field

from services.history.agents import DRAFT, Agents
from services.history.bodies import TURN, part, read_shape
from services.history.endings import CANCELLED, OUT_OF_TRIES, TOO_LATE, Endings, Verdict
from services.history.settings import HistorySettings
from services.history.store import Document, Store
from services.history.transcript import Transcript
from services.history.turn_record import TurnRecord
from shared.contracts.agents import AgentVersion
from shared.contracts.sessions import TurnMessage
from shared.contracts.turns import ClaimedTurn, ClaimTurn
from shared.turn_queue import TurnQueue
from shared.web import json_response

# Each further round means that another claim, or the turn's end, came in between.
CLAIM_ROUNDS: Final = 5
NOTHING_TO_DO: Final = ClaimedTurn(run=False)


class Release(BaseModel):
    attempt: int


class BeginCall(BaseModel):
    attempt: int
    call_key: str = Field(alias="callKey", min_length=1, max_length=500)


class Claims:
    def __init__(
        self, store: Store, queue: TurnQueue, agents: Agents, transcript: Transcript, endings: Endings, settings: HistorySettings
    ) -> None:
        self._sessions = store.sessions
        self._turns = store.turns
        self._queue = queue
        self._agents = agents
        self._transcript = transcript
        self._endings = endings
        self._max_tries = settings.max_tries
        self._turn_timeout_s = settings.turn_timeout_s

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post(TURN + "/claim", self._post_claim),
            web.post(TURN + "/release", self._post_release),
            web.post(TURN + "/calls", self._post_call),
        ]

    # --- rules

    async def claim(self, workspace: str, turn_id: str, claim: ClaimTurn) -> ClaimedTurn:
        """Raises the attempt while the lease names the claim; the same claim again gets the same attempt.

        Raises ApiError, RedisError or OSError while a store is away.
        """
        for _ in range(CLAIM_ROUNDS):
            row, session = await asyncio.gather(
                self._turns.one({"_id": turn_id, "workspace": workspace}), self._session_of(workspace, claim.session_id)
            )
            if row is None:
                return NOTHING_TO_DO
            record = TurnRecord.model_validate(row)
            if not record.active:
                return NOTHING_TO_DO
            if record.session_id != claim.session_id:
                session = await self._session_of(workspace, record.session_id)
            claimed = await self._claim(record, session, claim)
            if claimed is not None:
                return claimed
        return NOTHING_TO_DO

    async def _claim(self, record: TurnRecord, session: Document | None, claim: ClaimTurn) -> ClaimedTurn | None:
        """None: the turn has changed since it was read.

        The lease is looked at after the document was read: so nobody who got the lease later can have raised this attempt.
        """
        # Reads and the write that follows one after the other: beside others a write takes the stand-in twice as long.
        holder, (agent, context) = await asyncio.gather(self._queue.holder(record.id), self._material(record))
        if holder != claim.claim_id or not await self._belongs(record, session):
            return NOTHING_TO_DO
        now = datetime.now(UTC)
        if record.claim_id != claim.claim_id:
            if (verdict := self._verdict(record, now)) is not None:
                return NOTHING_TO_DO if await self._endings.end(record, verdict) else None
            if not await self._raise_attempt(record, claim.claim_id, now):
                return None
            record = record.model_copy(update={"attempt": record.attempt + 1, "first_claim_at": record.first_claim_at or now})
        return self._claimed(record, now, claim, agent, context)

    async def _belongs(self, record: TurnRecord, session: Document | None) -> bool:
        """Whether the turn's session still wants it; a turn that slipped into one that has ended is ended or erased."""
        if session is None:
            return True
        if session["status"] != "active":
            await self._turn_away(record, session)
            return False
        return True

    async def _material(self, record: TurnRecord) -> tuple[AgentVersion, tuple[TurnMessage, ...]]:
        """The agent version and the context, whose size the version limits."""
        agent = await self._agents.version(record.workspace, record.agent_id, record.agent_version)
        if record.session_id is None:
            return agent, ()
        return agent, await self._transcript.context(record.workspace, record.session_id, record.n, agent.config.limits)

    async def _session_of(self, workspace: str, session_id: str | None) -> Document | None:
        """None for a completion."""
        if session_id is None:
            return None
        return await self._sessions.one({"_id": session_id, "workspace": workspace}, {"status": 1}) or {"status": "deleted"}

    async def _turn_away(self, record: TurnRecord, session: Document) -> None:
        """The session ended between the turn's admission and now."""
        if session["status"] == "deleted":
            await self._endings.erase_turn(record)
        else:
            await self._endings.end(record, CANCELLED)

    def _verdict(self, record: TurnRecord, now: datetime) -> Verdict | None:
        if self._remaining_s(record, now) <= 0:
            return TOO_LATE
        return OUT_OF_TRIES if record.tries >= self._max_tries else None

    def _remaining_s(self, record: TurnRecord, now: datetime) -> float:
        return self._turn_timeout_s - (now - (record.first_claim_at or now)).total_seconds()

    async def _raise_attempt(self, record: TurnRecord, claim_id: str, now: datetime) -> bool:
        change: Document = {
            "$set": {"attempt": record.attempt + 1, "claimId": claim_id, "status": "running", "released": False},
            # The filter names the attempt that was read, so a repeat of this write finds nothing to count.
            "$inc": {"tries": 1},
            "$min": {"firstClaimAt": now},
        }
        mine = {"_id": record.id, "workspace": record.workspace, "active": True, "attempt": record.attempt}
        return await self._turns.update(mine, change)

    def _claimed(
        self, record: TurnRecord, now: datetime, claim: ClaimTurn, agent: AgentVersion, context: tuple[TurnMessage, ...]
    ) -> ClaimedTurn:
        first = record.first_claim_at or now
        return ClaimedTurn(
            run=True,
            attempt=record.attempt,
            agent_id=record.agent_id,
            agent_version=record.agent_version,
            agent=agent if not claim.knows_agent or record.agent_version == DRAFT else None,
            session_id=record.session_id,
            context=context,
            input=record.input,
            completion=record.request(),
            cancel_requested=record.cancel_requested,
            begun_calls=record.begun_calls,
            waited_ms=max(0, int((first - record.created_at).total_seconds() * 1000)),
            remaining_s=self._remaining_s(record, now),
        )

    async def release(self, workspace: str, turn_id: str, attempt: int) -> None:
        """Gives a try back, once per attempt."""
        mine = {"_id": turn_id, "workspace": workspace, "active": True, "attempt": attempt, "released": False}
        await self._turns.update(mine, {"$inc": {"tries": -1}, "$set": {"released": True, "status": "queued"}})

    async def begin_call(self, workspace: str, turn_id: str, attempt: int, call_key: str) -> bool:
        """Whether the call is recorded for an attempt that still owns the turn."""
        mine = {"_id": turn_id, "workspace": workspace, "active": True, "attempt": attempt}
        return await self._turns.update(mine, {"$addToSet": {"begunCalls": call_key}})

    # --- handlers

    async def _post_claim(self, request: web.Request) -> web.Response:
        claim = await read_shape(request, ClaimTurn)
        return json_response((await self.claim(part(request, "workspace"), part(request, "turn_id"), claim)).wire())

    async def _post_release(self, request: web.Request) -> web.Response:
        body = await read_shape(request, Release)
        await self.release(part(request, "workspace"), part(request, "turn_id"), body.attempt)
        return web.Response(status=204)

    async def _post_call(self, request: web.Request) -> web.Response:
        body = await read_shape(request, BeginCall)
        recorded = await self.begin_call(part(request, "workspace"), part(request, "turn_id"), body.attempt, body.call_key)
        return json_response({"recorded": recorded})
