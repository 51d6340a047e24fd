"""Admission: how a turn becomes durable, and what a repeat of it is answered."""

import asyncio
from datetime import UTC, datetime
from typing import Final

import orjson

from services.history.agents.variables import refuse_missing, texts_of, used_names, values_for
from services.history.agents.versions import Versions
from services.history.budgets.estimates import estimate_of
from services.history.budgets.gate import BudgetGate
from services.history.budgets.limits import Parties
from services.history.metrics import TURNS_ADMITTED
from services.history.mongo.client import Database
from services.history.mongo.errors import Duplicate
from services.history.mongo.filters import Document, above
from services.history.turns.branch_points import Branches
from services.history.turns.context import Contexts
from services.history.turns.end_users import end_user_of
from services.history.turns.new_turn import Target, new_turn
from services.history.turns.places import Places, Taken
from services.history.turns.record import COMPLETIONS, TurnRecord, record_of
from services.history.turns.redaction import Redactor
from services.history.turns.retry_guard import RetryGuard
from services.history.turns.token_rates import model_of
from shared.contracts.errors import ApiError, Code
from shared.contracts.prices import PriceTable
from shared.contracts.sessions import EndUser
from shared.contracts.turns import AdmittedTurn, AdmitTurn, CompletionRequest

# Each round means that another turn of the session started and ended meanwhile.
ADMIT_ROUNDS: Final = 20
_SESSION_FIELDS: Final = dict.fromkeys(
    ("status", "agentId", "agentVersion", "turnCount", "metadata", "endUser", "hidden"), 1
)
# A waiting turn's snapshot lies in Redis. A model reads a longer prompt for so long that a call to history does not
# matter.
MAX_SNAPSHOT: Final = 16 << 10


class Admission:
    def __init__(
        self,
        database: Database,
        versions: Versions,
        contexts: Contexts,
        places: Places,
        gate: BudgetGate,
        redactor: Redactor,
        prices: PriceTable,
    ) -> None:
        self._sessions = database.sessions
        self._turns = database.turns
        self._versions = versions
        self._contexts = contexts
        self._places = places
        self._guard = RetryGuard(database)
        self._branches = Branches(database)
        self._gate = gate
        self._redactor = redactor
        self._prices = prices

    async def admit(self, workspace: str, order: AdmitTurn) -> bytes:
        """An AdmittedTurn as JSON; the turn is durable when this returns. May be repeated.

        The same turn id, or the same idempotency key with the same body, is the same turn. The key is looked up before
        the session's status decides: a repeat is answered even when the session has ended. A session that ends during
        the insert has accepted the turn first: it is cancelled or erased by the reconciler (`SlippedTurns`).
        """
        if order.idempotency_key is None and not order.is_retry:
            earlier, target = None, await self._target(workspace, order)
        else:
            earlier, target = await asyncio.gather(self._earlier(workspace, order), self._target(workspace, order))
        if isinstance(target, ApiError) and target.code is Code.SESSION_NOT_FOUND:
            raise target  # A turn that slipped into a deleted session is not to be seen.
        if earlier is not None:
            return _admitted(earlier, order)
        if isinstance(target, ApiError):
            if target.code is Code.SESSION_ENDED and (own := await self._by_id(workspace, order)) is not None:
                return _admitted(await self._staying(own, order) or own, order)
            raise target
        if (repeated := await self._refused_by_budget(workspace, order, target)) is not None:
            return repeated
        wanted = order.limits, order.key_id, target.end_user_id
        async with self._places.taken(workspace, order.turn_id, *wanted) as taken:
            order = await self._redactor.order(order, target.agent_id, target.redaction)
            return await self._stored(workspace, order, target, taken)

    async def _stored(self, workspace: str, order: AdmitTurn, target: Target, taken: Taken) -> bytes:
        n = target.n
        for _ in range(ADMIT_ROUNDS):
            document = new_turn(workspace, order, target, n, taken.names)
            try:
                await self._turns.insert(document)
            except Duplicate:
                existing = await self._existing(workspace, order)
                if existing is None:
                    n = await self._next_number(workspace, order.session_id, n)
                    target = await self._branches.again(workspace, order, target)
                    continue
                if existing.id != order.turn_id:
                    return _admitted(existing, order)
                record = existing
            else:
                TURNS_ADMITTED.inc()
                record = TurnRecord.model_validate(document)
            snapshot, confirmed = await asyncio.gather(self._snapshot(record), self._guard.confirmed(record, order))
            if confirmed is record:
                taken.keep()
                return _admitted(record, order, snapshot)
            if confirmed is not None:
                return _admitted(confirmed, order)
        raise ApiError(Code.OVERLOADED)

    async def _refused_by_budget(self, workspace: str, order: AdmitTurn, target: Target) -> bytes | None:
        """A repeat is answered with its turn, also when a budget has been used up since. Raises `budget_exceeded`."""
        parties = Parties(workspace, target.agent_id, order.key_id, target.end_user_id)
        refusal = await self._gate.admit(order.turn_id, parties, target.estimate)
        if refusal is None:
            return None
        existing = await self._existing(workspace, order)
        if existing is not None and (staying := await self._staying(existing, order)) is not None:
            return _admitted(staying, order)
        raise refusal

    async def _target(self, workspace: str, order: AdmitTurn) -> Target | ApiError:
        """A refusal is returned, not raised: an idempotency key may still name an earlier turn."""
        if order.session_id is None:
            return await self._completion_target(workspace, order)
        where = {"_id": order.session_id, "workspace": workspace}
        session = await self._sessions.one(where, _SESSION_FIELDS)
        if (refusal := _refusal(session)) is not None:
            return refusal
        assert session is not None
        target = Target(session["agentId"], session["agentVersion"], session["turnCount"] + 1)
        try:
            target = target._replace(branch=await self._branches.of(workspace, order, session))
        except ApiError as error:
            return error
        metadata = orjson.loads(session["metadata"]) if "metadata" in session else {}
        return await self._with_variables(workspace, order, target, metadata, end_user_of(session))

    async def _completion_target(self, workspace: str, order: AdmitTurn) -> Target | ApiError:
        try:
            target = Target(*await self._versions.resolve(workspace, order.agent_id or ""))
        except ApiError as error:
            return error
        request = order.completion or CompletionRequest()
        return await self._with_variables(workspace, order, target, request.metadata, request.end_user)

    async def _with_variables(
        self, workspace: str, order: AdmitTurn, target: Target, metadata: dict[str, str], end_user: EndUser | None
    ) -> Target | ApiError:
        """The target with its end user and the values that the agent's texts use, the same for every attempt."""
        target = target._replace(end_user_id=end_user.id if end_user is not None else None)
        try:
            config = (await self._versions.read(workspace, target.agent_id, target.agent_version)).config
            target = target._replace(redaction=config.redaction, estimate=estimate_of(order, config, self._prices))
            if not used_names(config):
                return target
            now = datetime.now(UTC)
            values = values_for(
                config, metadata, end_user, agent_id=target.agent_id, session_id=order.session_id, now=now
            )
            refuse_missing(texts_of(config), values)
        except ApiError as error:
            return error
        return target._replace(variables=values)

    async def _earlier(self, workspace: str, order: AdmitTurn) -> TurnRecord | None:
        return await self._by_key(workspace, order) or await self._guard.repeated(workspace, order)

    async def _staying(self, existing: TurnRecord, order: AdmitTurn) -> TurnRecord | None:
        """The turn that answers the order: the retry guard may be about to withdraw the order's own."""
        return await self._guard.confirmed(existing, order) if existing.id == order.turn_id else existing

    async def _by_id(self, workspace: str, order: AdmitTurn) -> TurnRecord | None:
        return record_of(await self._turns.one({"_id": order.turn_id, "workspace": workspace}))

    async def _by_key(self, workspace: str, order: AdmitTurn) -> TurnRecord | None:
        if order.idempotency_key is None:
            return None
        where = {
            "workspace": workspace,
            "scope": order.session_id or COMPLETIONS,
            "idempotencyKey": order.idempotency_key,
        }
        return record_of(await self._turns.one(where))

    async def _existing(self, workspace: str, order: AdmitTurn) -> TurnRecord | None:
        """The turn that an insert collided with: the same turn, or the one of its key. None: the next try may succeed.

        Raises `turn_in_progress`.
        """
        record = (
            await self._by_id(workspace, order)
            or await self._by_key(workspace, order)
            or await self._guard.in_the_way(workspace, order)
        )
        if record is not None:
            return record
        active = {"workspace": workspace, "sessionId": order.session_id, "active": True}
        if order.session_id is not None and (row := await self._turns.one(active, {"_id": 1})) is not None:
            raise ApiError(Code.TURN_IN_PROGRESS, members={"activeTurnId": row["_id"]})
        return None

    async def _next_number(self, workspace: str, session_id: str | None, n: int) -> int:
        where = {"workspace": workspace, "sessionId": session_id, "n": above(n)}
        later = await self._turns.many(where, fields={"n": 1}, order=[("n", -1)], limit=1)
        return (later[0]["n"] if later else n) + 1

    async def _snapshot(self, record: TurnRecord) -> str | None:
        """The snapshot for the turn's first claim: the turns before it have ended, so its context is final.

        None: the claim asks.
        """
        try:
            config = (await self._versions.read(record.workspace, record.agent_id, record.agent_version)).config
            context = await self._contexts.before(
                record.workspace,
                record.session_id,
                record.n,
                config.limits,
                model_of(config),
                guards_input=config.guards_input,
                hidden=record.hidden,
            )
        except ApiError:
            return None
        snapshot = orjson.dumps(record.snapshot(context))
        return snapshot.decode() if len(snapshot) <= MAX_SNAPSHOT else None


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
