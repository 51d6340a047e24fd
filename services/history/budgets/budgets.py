"""Budgets: put, shown with what is used of them, listed and removed. Each change is in the audit."""

import hashlib
from datetime import UTC, datetime
from typing import Any, Final

from services.history.agents.agents import Agents
from services.history.audit.records import PENDING, Audit, audit_entry
from services.history.budgets.limits import MAX_BUDGETS, PERIODS, Limits, cost_nano, stored_limits
from services.history.budgets.shown import ShownBudgets
from services.history.mongo.client import Database
from services.history.mongo.errors import Duplicate
from services.history.mongo.filters import Document, above
from shared.budgets.periods import PeriodKind
from shared.budgets.store import BudgetStore
from shared.contracts.budgets import Allowance, Budget, StoreBudget, Subject
from shared.contracts.errors import ApiError, Code

ROUNDS: Final = 20


class Budgets:
    def __init__(
        self,
        database: Database,
        agents: Agents,
        audit: Audit,
        store: BudgetStore,
        limits: Limits,
        shown: ShownBudgets,
    ) -> None:
        self._budgets = database.budgets
        self._keys = database.keys
        self._agents = agents
        self._audit = audit
        self._store = store
        self._limits = limits
        self._shown = shown

    async def put(self, workspace: str, subject: Subject, order: StoreBudget) -> Budget:
        """Replaces the subject's budget.

        Raises `agent_not_found`, `not_found`, and `validation_failed` beyond the number of budgets.
        """
        await self._require(workspace, subject)
        name, now = _id(workspace, subject), datetime.now(UTC)
        entry = audit_entry("budget.changed", _target(subject), order.actor, **_shown_limits(order))
        for _ in range(ROUNDS):
            revision = int(now.timestamp() * 1000)
            given: Document = {kind: _stored(getattr(order, kind)) for kind in PERIODS}
            changed = {**given, "updatedAt": now, "revision": revision, "removed": False}
            if await self._budgets.update({"_id": name}, {"$set": changed, "$push": {PENDING: entry}}):
                break
            await self._require_room(workspace)
            own = {"_id": name, "workspace": workspace, "kind": subject.kind, "subjectId": subject.id}
            try:
                await self._budgets.insert({**own, **changed, PENDING: [entry]})
            except Duplicate:
                continue
            break
        return await self._published(workspace, subject)

    async def get(self, workspace: str, subject: Subject) -> Budget:
        """Raises `not_found`."""
        row = await self._budgets.one({"_id": _id(workspace, subject), "workspace": workspace})
        if row is None or row.get("removed"):
            raise ApiError(Code.NOT_FOUND)
        return (await self._shown.of(workspace, [row]))[0]

    async def page(self, workspace: str, after: str | None, limit: int) -> tuple[list[Budget], str | None]:
        """In the order of their ids, and the id to continue from."""
        where: dict[str, Any] = {"workspace": workspace, "_id": above(after or "")}
        rows = await self._budgets.many(where, order=[("_id", 1)], limit=limit + 1)
        shown = await self._shown.of(workspace, [row for row in rows[:limit] if not row.get("removed")])
        return shown, rows[limit - 1]["_id"] if len(rows) > limit else None

    async def remove(self, workspace: str, subject: Subject, actor: str | None = None) -> None:
        """Raises `not_found`."""
        where = {"_id": _id(workspace, subject), "workspace": workspace, "removed": False}
        entry = audit_entry("budget.removed", _target(subject), actor)
        nothing: Document = dict.fromkeys(PERIODS)
        removed = {**nothing, "removed": True, "revision": int(datetime.now(UTC).timestamp() * 1000)}
        if not await self._budgets.update(where, {"$set": removed, "$push": {PENDING: entry}}):
            raise ApiError(Code.NOT_FOUND)
        self._limits.forget(workspace)
        row = await self._budgets.one({"_id": where["_id"], "workspace": workspace})
        if row is not None and row.get("removed"):
            await self._clear(row)

    async def forget_end_user(self, workspace: str, end_user: str) -> None:
        """Removes the end user's budget, if there is one."""
        try:
            await self.remove(workspace, Subject("endUser", end_user))
        except ApiError as error:
            if error.code is not Code.NOT_FOUND:
                raise

    async def reconcile(self, limit: int = 20) -> None:
        for row in await self._budgets.many({f"{PENDING}.id": above("")}, limit=limit):
            await self._audit.deliver(self._budgets, row)
        for row in await self._budgets.many({"removed": True}, limit=limit):
            await self._clear(row)

    async def _clear(self, row: Document) -> None:
        """Lifts the counters' limits, for turns that wait with them, and deletes the document."""
        await self._audit.deliver(self._budgets, row)
        lifted: Document = {kind: {"tokens": None, "cost": None} for kind in PERIODS}
        for limit in stored_limits({**row, **lifted}).at(row["workspace"], datetime.now(UTC)):
            await self._store.limit(limit)
        await self._budgets.delete({"_id": row["_id"], "removed": True, "revision": row["revision"]})

    async def _published(self, workspace: str, subject: Subject) -> Budget:
        """A limit that is changed holds for turns that wait too."""
        self._limits.forget(workspace)
        row = await self._budgets.one({"_id": _id(workspace, subject), "workspace": workspace})
        if row is None:
            raise ApiError(Code.NOT_FOUND)
        absent: Document = {kind: row.get(kind) or {"tokens": None, "cost": None} for kind in PERIODS}
        for limit in stored_limits({**row, **absent}).at(workspace, datetime.now(UTC)):
            await self._store.limit(limit)
        await self._audit.deliver(self._budgets, row)
        return (await self._shown.of(workspace, [row]))[0]

    async def _require_room(self, workspace: str) -> None:
        rows = await self._budgets.many({"workspace": workspace}, fields={"_id": 1}, limit=MAX_BUDGETS)
        if len(rows) >= MAX_BUDGETS:
            detail = f"A workspace has at most {MAX_BUDGETS} budgets. Remove one first."
            raise ApiError(Code.VALIDATION_FAILED, detail)

    async def _require(self, workspace: str, subject: Subject) -> None:
        if subject.kind == "agent":
            await self._agents.require(workspace, subject.id)
        if subject.kind == "key":
            where = {"_id": subject.id, "workspace": workspace, "revokedAt": None}
            if await self._keys.one(where, {"_id": 1}) is None:
                raise ApiError(Code.NOT_FOUND, "There is no such key.")


def _id(workspace: str, subject: Subject) -> str:
    """Ids of end users may hold any character."""
    return f"{workspace}:{subject.kind}:{hashlib.sha256(subject.id.encode()).hexdigest()[:32]}"


def _target(subject: Subject) -> str:
    """For the audit, which names no end user."""
    return subject.kind if subject.kind in ("workspace", "endUser") else subject.text


def _stored(allowance: Allowance | None) -> Document | None:
    if allowance is None or not allowance.is_limit:
        return None
    return {"tokens": allowance.tokens, "cost": cost_nano(allowance.cost)}


def _shown_limits(order: StoreBudget) -> dict[str, Any]:
    given: dict[PeriodKind, Allowance | None] = {"day": order.day, "month": order.month}
    return {kind: allowance.wire() for kind, allowance in given.items() if allowance is not None}
