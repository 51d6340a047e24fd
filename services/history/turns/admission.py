"""Turns: how one is accepted, read and cancelled."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import orjson
from aiohttp import web
from pydantic import BaseModel, Field

from services.history.agents.versions import Agents
from services.history.api.bodies import TURN, WORKSPACE, part, read_schema
from services.history.metrics import TURNS_ADMITTED
from services.history.mongo.client import Document, Duplicate, Store, above, one_of
from services.history.turns.context import Contexts
from services.history.turns.finalize import TurnFinalizer
from services.history.turns.record import COMPLETIONS, OUTLINE, WITHOUT_TEXT, TurnRecord, labels_of, unless_there
from services.history.turns.retry_guard import RetryGuard
from shared.contracts.errors import ApiError, Code
from shared.contracts.turns import AdmittedTurn, AdmitTurn, StoredTurn, Turn
from shared.web.bodies import json_response

# Each round means that another turn of the session came and went meanwhile.
ADMIT_ROUNDS: Final = 20
MAX_STATES: Final = 5000
STATES_PAGE: Final = 500
# What a waiting turn may take in Redis. A model reads a longer prompt for so long that nobody notices a call to history before it.
MAX_BRIEF: Final = 16 << 10


class TurnName(BaseModel):
    workspace: str
    turn_id: str = Field(alias="turnId")


class TurnNames(BaseModel):
    turns: tuple[TurnName, ...] = Field(max_length=MAX_STATES)


@dataclass(frozen=True, slots=True)
class _Target:
    """Where a turn goes: what answers it, and for a session the number it would like to have."""

    agent_id: str
    agent_version: int
    n: int = 0


class Turns:
    def __init__(self, store: Store, agents: Agents, contexts: Contexts, finalizer: TurnFinalizer) -> None:
        self._sessions = store.sessions
        self._turns = store.turns
        self._agents = agents
        self._contexts = contexts
        self._finalizer = finalizer
        self._guard = RetryGuard(store)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post(WORKSPACE + "/turns", self._post),
            web.get(TURN, self._get),
            web.post(TURN + "/cancel", self._post_cancel),
            web.post("/turns/states", self._post_states),
        ]

    # --- admission

    async def admit(self, workspace: str, order: AdmitTurn) -> bytes:
        """An AdmittedTurn as JSON; durable when it returns. The same turn id, or the same idempotency key with the same body, is the
        same turn.

        The key is looked up before the session's state is looked at: a repeat is answered even when the session has ended.
        """
        if order.idempotency_key is None and not order.is_retry:
            earlier, target = None, await self._target(workspace, order)
        else:
            earlier, target = await asyncio.gather(self._earlier(workspace, order), self._target(workspace, order))
        if earlier is not None:
            return _admitted(earlier, order)
        if isinstance(target, ApiError):
            raise target
        n = target.n
        for _ in range(ADMIT_ROUNDS):
            document = _document(workspace, order, target, n)
            try:
                await self._turns.insert(document)
            except Duplicate:
                existing = await self._existing(workspace, order)
                if existing is None:
                    n = await self._next_number(workspace, order.session_id, n)
                    continue
                if existing.id != order.turn_id:
                    return _admitted(existing, order)
                record = existing
            else:
                TURNS_ADMITTED.inc()
                record = TurnRecord.model_validate(document)
            _, answer = await asyncio.gather(self._withdraw_from_ended(record), self._answer(record, order))
            stands = await self._guard.confirmed(record, order)
            if stands is not None:
                return answer if stands is record else _admitted(stands, order)
        raise ApiError(Code.OVERLOADED)

    async def _target(self, workspace: str, order: AdmitTurn) -> "_Target | ApiError":
        """A refusal is returned, not raised: the caller looks at the idempotency key first."""
        if order.session_id is None:
            return await self._completion_target(workspace, order.agent_id or "")
        where = {"_id": order.session_id, "workspace": workspace}
        session = await self._sessions.one(where, {"status": 1, "agentId": 1, "agentVersion": 1, "turnCount": 1})
        if (refusal := _refusal(session)) is not None:
            return refusal
        assert session is not None
        return _Target(session["agentId"], session["agentVersion"], session["turnCount"] + 1)

    async def _completion_target(self, workspace: str, agent_id: str) -> "_Target | ApiError":
        try:
            agent = await self._agents.published_one(workspace, agent_id)
        except ApiError as error:
            return ApiError(Code.MODEL_NOT_FOUND, param="model") if error.code is Code.AGENT_NOT_FOUND else error
        return _Target(agent_id, agent.published_version or 0)

    async def _earlier(self, workspace: str, order: AdmitTurn) -> TurnRecord | None:
        return await self._by_key(workspace, order) or await self._guard.repeated(workspace, order)

    async def _by_key(self, workspace: str, order: AdmitTurn) -> TurnRecord | None:
        if order.idempotency_key is None:
            return None
        where = {
            "workspace": workspace,
            "scope": order.session_id or COMPLETIONS,
            "idempotencyKey": order.idempotency_key,
        }
        return _record(await self._turns.one(where))

    async def _existing(self, workspace: str, order: AdmitTurn) -> TurnRecord | None:
        """The turn that an insert met: itself, or the one of its key. Raises `turn_in_progress`; None: the next try may succeed."""
        record = _record(await self._turns.one({"_id": order.turn_id, "workspace": workspace})) or await self._by_key(
            workspace, order
        )
        record = record or await self._guard.in_the_way(workspace, order)
        if record is not None:
            return record
        active = {"workspace": workspace, "sessionId": order.session_id, "active": True}
        if order.session_id is not None and (row := await self._turns.one(active, {"_id": 1})) is not None:
            raise ApiError(Code.TURN_IN_PROGRESS, members={"activeTurnId": row["_id"]})
        return None

    async def _next_number(self, workspace: str, session_id: str | None, n: int) -> int:
        later = await self._turns.many(
            {"workspace": workspace, "sessionId": session_id, "n": above(n)}, fields={"n": 1}
        )
        return max((row["n"] for row in later), default=n) + 1

    async def _answer(self, record: TurnRecord, order: AdmitTurn) -> bytes:
        """Put together while the session is read once more; the driver's thread, which sends that read, gets its turn first."""
        await asyncio.sleep(0)
        return _admitted(record, order, await self._snapshot(record))

    async def _snapshot(self, record: TurnRecord) -> str | None:
        """For the turn's first claim: with the turn before it ended, its context stands. Without one that claim asks by itself."""
        try:
            agent = await self._agents.version(record.workspace, record.agent_id, record.agent_version)
            context = await self._contexts.before(record.workspace, record.session_id, record.n, agent.config.limits)
        except ApiError:
            return None
        snapshot = orjson.dumps(record.snapshot(context))
        return snapshot.decode() if len(snapshot) <= MAX_BRIEF else None

    async def _withdraw_from_ended(self, record: TurnRecord) -> None:
        """A session that has ended while the turn was inserted keeps none: it may have looked for its active turn before that."""
        if record.session_id is None:
            return
        where = {"_id": record.session_id, "workspace": record.workspace}
        if (refusal := _refusal(await self._sessions.one(where, {"status": 1}))) is not None:
            await self._turns.delete({"_id": record.id, "workspace": record.workspace, "active": True, "attempt": 0})
            raise refusal

    # --- reading and cancelling

    async def read(self, workspace: str, turn_id: str, *, text: bool = True) -> StoredTurn:
        """Raises `turn_not_found`."""
        record = _record(await self._turns.one({"_id": turn_id, "workspace": workspace}, None if text else OUTLINE))
        return unless_there(record, ApiError(Code.TURN_NOT_FOUND)).stored()

    async def states(self, names: tuple[TurnName, ...]) -> list[Turn | None]:
        """Of many turns at once, in their order."""
        found: dict[tuple[str, str], Turn] = {}
        for start in range(0, len(names), STATES_PAGE):
            ids = sorted({name.turn_id for name in names[start : start + STATES_PAGE]})
            for row in await self._turns.many({"_id": one_of(ids)}, fields=WITHOUT_TEXT):
                record = TurnRecord.model_validate(row)
                found[record.workspace, record.id] = record.turn()
        return [found.get((name.workspace, name.turn_id)) for name in names]

    async def cancel(self, workspace: str, turn_id: str) -> Turn:
        """Idempotent. The turn as it stands after the wish was recorded. Raises `turn_not_found`."""
        where = {"_id": turn_id, "workspace": workspace}
        record = unless_there(_record(await self._turns.one(where, WITHOUT_TEXT)), ApiError(Code.TURN_NOT_FOUND))
        if not record.active:
            return record.turn()
        await self._finalizer.stop(record)
        return unless_there(_record(await self._turns.one(where, WITHOUT_TEXT)), ApiError(Code.TURN_NOT_FOUND)).turn()

    # --- handlers

    async def _post(self, request: web.Request) -> web.Response:
        order = await read_schema(request, AdmitTurn)
        if not order.messages or (order.session_id is None) == (order.agent_id is None):
            raise ApiError(Code.VALIDATION_FAILED, "A turn has messages, and either a session or an agent.")
        return web.Response(
            body=await self.admit(part(request, "workspace"), order), status=201, content_type="application/json"
        )

    async def _get(self, request: web.Request) -> web.Response:
        text = request.query.get("text") != "false"
        return json_response((await self.read(part(request, "workspace"), part(request, "turn_id"), text=text)).wire())

    async def _post_cancel(self, request: web.Request) -> web.Response:
        return json_response((await self.cancel(part(request, "workspace"), part(request, "turn_id"))).wire())

    async def _post_states(self, request: web.Request) -> web.Response:
        states = await self.states((await read_schema(request, TurnNames)).turns)
        return json_response([state.wire() if state is not None else None for state in states])


def _record(row: Document | None) -> TurnRecord | None:
    return TurnRecord.model_validate(row) if row is not None else None


def _refusal(session: Document | None) -> ApiError | None:
    if session is None or session["status"] == "deleted":
        return ApiError(Code.SESSION_NOT_FOUND)
    return ApiError(Code.SESSION_ENDED) if session["status"] == "ended" else None


def _admitted(record: TurnRecord, order: AdmitTurn, snapshot: str | None = None) -> bytes:
    """An AdmittedTurn as JSON. Raises `idempotency_mismatch`, `gone`."""
    if record.body_digest != order.body_digest:
        raise ApiError(Code.IDEMPOTENCY_MISMATCH)
    if record.erased:
        raise ApiError(Code.GONE)
    created = record.id == order.turn_id
    admitted = AdmittedTurn(
        created=created,
        turn=record.turn(),
        user_message_id=record.user_message_id,
        output=() if record.active else record.output,
        snapshot=snapshot if created else None,
    )
    return orjson.dumps(admitted.wire())


def _document(workspace: str, order: AdmitTurn, target: _Target, n: int) -> Document:
    """What is not there is left out: the partial indexes go by the presence of `sessionId` and `idempotencyKey`."""
    document: Document = {
        "_id": order.turn_id,
        "workspace": workspace,
        "status": "queued",
        "active": True,
        "attempt": 0,
        "tries": 0,
        "agentId": target.agent_id,
        "agentVersion": target.agent_version,
        "scope": order.session_id or COMPLETIONS,
        "bodyDigest": order.body_digest,
        "input": [message.wire() for message in order.messages],
        "createdAt": datetime.now(UTC),
    }
    if order.session_id is not None:
        document |= {"sessionId": order.session_id, "n": n}
    if order.idempotency_key is not None:
        document["idempotencyKey"] = order.idempotency_key
    if order.metadata:
        document["metadata"] = orjson.dumps(order.metadata).decode()
    if order.completion is not None:
        document["completion"] = orjson.dumps(order.completion.wire()).decode()
    document |= RetryGuard.marks(order)
    if order.session_id is None:
        document |= _keeping(order)
    return document


def _keeping(order: AdmitTurn) -> Document:
    """What makes a completion one that is kept, or one whose text will go."""
    if order.completion is None or not order.completion.store:
        return {"store": False, "erasable": True}
    return {"store": True, "erasable": False, "storedId": order.turn_id, "labels": labels_of(order.completion.metadata)}
