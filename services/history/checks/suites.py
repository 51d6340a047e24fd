"""The checks of an agent, stored as one document per agent. A change of them is in the audit."""

from datetime import UTC, datetime
from typing import Final

import orjson

from services.history.agents.agents import Agents
from services.history.agents.documents import WITHOUT_DRAFT, agent_key
from services.history.audit.records import PENDING, Audit, audit_entry
from services.history.checks.suite_rules import checked_suite
from services.history.mongo.client import Database
from services.history.mongo.errors import Duplicate
from services.history.mongo.filters import Document, above
from shared.contracts.checks import PutChecks, StoredChecks
from shared.contracts.errors import ApiError, Code

# Each round means that somebody else has changed the checks in between.
ROUNDS: Final = 20


class Suites:
    def __init__(self, database: Database, agents: Agents, audit: Audit, *, has_judge: bool) -> None:
        self._suites = database.check_suites
        self._agents = agents
        self._audit = audit
        self._has_judge = has_judge

    async def read(self, workspace: str, agent_id: str) -> StoredChecks:
        """Empty, of revision 0, when none were put. Raises `agent_not_found`."""
        await self._agents.document(workspace, agent_id, WITHOUT_DRAFT)
        return _shown(await self._suites.one({"_id": agent_key(workspace, agent_id), "workspace": workspace}))

    async def put(self, workspace: str, agent_id: str, order: PutChecks) -> StoredChecks:
        """Replaces the checks; a repeat changes nothing.

        Raises `agent_not_found`, `validation_failed`, `payload_too_large`, and `version_conflict` when the checks have
        changed since `order.revision`.
        """
        await self._agents.document(workspace, agent_id, WITHOUT_DRAFT)
        suite = checked_suite(order.suite, has_judge=self._has_judge)
        text = orjson.dumps(suite.wire()).decode()
        where = {"_id": agent_key(workspace, agent_id), "workspace": workspace}
        for _ in range(ROUNDS):
            row = await self._suites.one(where)
            if row is not None and row["suite"] == text:
                return await self._delivered(row)
            _refuse_conflict(order, row)
            entry = audit_entry("agent.checks_changed", agent_id, order.actor, checks=len(suite.checks))
            if await self._replace(where, row, text, entry):
                row = await self._suites.one(where)
                return await self._delivered(row) if row is not None else _shown(None)
        raise ApiError(Code.OVERLOADED)

    async def _replace(self, where: Document, row: Document | None, text: str, entry: Document) -> bool:
        """Whether nobody else was faster."""
        changed = {"suite": text, "updatedAt": datetime.now(UTC)}
        if row is not None:
            change = {"$set": {**changed, "revision": row["revision"] + 1}, "$push": {PENDING: entry}}
            return await self._suites.update({**where, "revision": row["revision"]}, change)
        try:
            await self._suites.insert({**where, **changed, "revision": 1, PENDING: [entry]})
        except Duplicate:
            return False
        return True

    async def reconcile(self, limit: int = 100) -> None:
        """Delivers audit entries that a killed process left."""
        for row in await self._suites.many({f"{PENDING}.id": above("")}, limit=limit):
            await self._audit.deliver(self._suites, row)

    async def _delivered(self, row: Document) -> StoredChecks:
        await self._audit.deliver(self._suites, row)
        return _shown(row)


def _refuse_conflict(order: PutChecks, row: Document | None) -> None:
    current = row["revision"] if row is not None else 0
    if order.revision is not None and order.revision != current:
        raise ApiError(
            Code.VERSION_CONFLICT,
            f"The checks are at revision {current} now. Read them again and repeat your change.",
            members={"currentRevision": current},
        )


def _shown(row: Document | None) -> StoredChecks:
    if row is None:
        return StoredChecks(checks=())
    suite = orjson.loads(row["suite"])
    return StoredChecks.model_validate({**suite, "revision": row["revision"], "updated_at": row["updatedAt"]})
