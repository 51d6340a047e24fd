"""Runs of checks: ordered, listed, and compared with a run of the version before. `runner.py` drives them."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from services.history.agents.agents import Agents
from services.history.agents.documents import WITHOUT_DRAFT
from services.history.agents.versions import Versions
from services.history.checks.run_record import Progress, RunRecord, digest_of, run_of
from services.history.checks.suites import Suites
from services.history.mongo.client import Database
from services.history.mongo.dialect import IdField
from services.history.mongo.errors import Duplicate
from services.history.mongo.filters import between, one_of
from services.history.settings import HistorySettings
from shared.contracts.checks import CheckResult, CheckRun, CheckSuite, RunChecks
from shared.contracts.errors import ApiError, Code
from shared.ids import new_id

# So that nobody fills the queue with checks.
MAX_ACTIVE: Final = 20
ANY_VERSION: Final = 10**9
_IDS: Final = IdField("_id", "chk")
_WITHOUT_SUITE: Final = {"suite": 0}


class Runs:
    def __init__(
        self, database: Database, agents: Agents, versions: Versions, suites: Suites, settings: HistorySettings
    ) -> None:
        self._runs = database.check_runs
        self._agents = agents
        self._versions = versions
        self._suites = suites
        self._keep = timedelta(seconds=settings.check_runs_keep_s)

    async def create(self, workspace: str, agent_id: str, order: RunChecks) -> RunRecord:
        """A run of the checks as they are now. With `order.key` a repeat is the same run.

        Raises `agent_not_found`, `not_found` for an absent version, `validation_failed` when the agent has no checks,
        and `rate_limited` while too many runs of the workspace have not ended.
        """
        if order.key is not None and (earlier := await self._by_key(workspace, agent_id, order)) is not None:
            return earlier
        checks = (await self._suites.read(workspace, agent_id)).checks
        if not checks:
            raise ApiError(
                Code.VALIDATION_FAILED,
                "The agent has no checks. Write `checks` in agent.yaml and apply it, or `PUT /agents/{id}/checks`.",
            )
        active = await self._runs.many({"workspace": workspace, "active": True}, fields={"_id": 1}, limit=MAX_ACTIVE)
        if len(active) >= MAX_ACTIVE:
            raise ApiError(Code.RATE_LIMITED, f"{MAX_ACTIVE} runs of checks have not ended yet. Wait for one of them.")
        now = datetime.now(UTC)
        row: dict[str, Any] = {
            "_id": new_id("chk"),
            "workspace": workspace,
            "agentId": agent_id,
            "version": order.version,
            "state": "running",
            "active": True,
            "seq": 0,
            "suite": orjson.dumps(CheckSuite(checks=checks).wire()).decode(),
            "progress": [Progress(name=check.name).wire() for check in checks],
            "createdAt": now,
            "expiresAt": now + self._keep,
        }
        if order.version == 0:
            row["draftDigest"] = digest_of((await self._agents.document(workspace, agent_id))["draft"])
        else:
            await self._versions.record(workspace, agent_id, order.version)
        if order.key is not None:
            row["runKey"] = order.key
        if order.actor is not None:
            row["createdBy"] = order.actor
        try:
            await self._runs.insert(row)
        except Duplicate:
            if (earlier := await self._by_key(workspace, agent_id, order)) is None:
                raise ApiError(Code.OVERLOADED) from None
            return earlier
        return run_of(row)

    async def read(self, workspace: str, agent_id: str, run_id: str) -> CheckRun:
        """With its results, compared. Raises `agent_not_found`, `not_found`."""
        await self._agents.document(workspace, agent_id, WITHOUT_DRAFT)
        row = await self._runs.one({"_id": run_id, "workspace": workspace, "agentId": agent_id})
        if row is None:
            raise ApiError(Code.NOT_FOUND, "This agent has no such run of checks.")
        return await self.compared(run_of(row))

    async def page(
        self, workspace: str, agent_id: str, before: str | None, limit: int
    ) -> tuple[list[CheckRun], str | None]:
        """The newest runs with an id below `before`, without their results, and the id to continue from."""
        await self._agents.document(workspace, agent_id, WITHOUT_DRAFT)
        where = {"workspace": workspace, "agentId": agent_id}
        rows, following = await self._runs.page(where, _IDS, "desc", before, limit)
        return [run_of(row).shown(results=False) for row in rows], following

    async def compared(self, run: RunRecord) -> CheckRun:
        shown = run.shown()
        if (earlier := await self._before(run)) is None:
            return shown
        states = {check.name: check.state for check in earlier.progress}
        results = tuple(_with_before(result, states.get(result.name)) for result in shown.results or ())
        return shown.model_copy(update={"results": results, "compared_with": earlier.version})

    async def _before(self, run: RunRecord) -> RunRecord | None:
        """The last ended run of the nearest earlier version; the draft comes after every version."""
        where = {
            "workspace": run.workspace,
            "agentId": run.agent_id,
            "version": between(1, run.version or ANY_VERSION),
            "state": one_of(("passed", "failed")),
        }
        rows = await self._runs.many(where, fields=_WITHOUT_SUITE, order=[("version", -1), ("_id", -1)], limit=1)
        return run_of({"suite": "{}", **rows[0]}) if rows else None

    async def _by_key(self, workspace: str, agent_id: str, order: RunChecks) -> RunRecord | None:
        """Raises `idempotency_mismatch` for a key that was used with another version."""
        row = await self._runs.one({"workspace": workspace, "agentId": agent_id, "runKey": order.key})
        if row is not None and row["version"] != order.version:
            raise ApiError(Code.IDEMPOTENCY_MISMATCH)
        return run_of(row) if row is not None else None


def _with_before(result: CheckResult, state: str | None) -> CheckResult:
    return result.model_copy(update={"before": state}) if state in ("passed", "failed") else result
