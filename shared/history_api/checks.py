"""An agent's checks and their runs."""

from typing import Any

from shared.contracts.checks import CheckRun, PutChecks, RunChecks, StoredChecks
from shared.history_api.transport import Transport


class CheckCalls(Transport):
    async def checks(self, workspace: str, agent_id: str) -> StoredChecks:
        """Raises `agent_not_found`."""
        return StoredChecks.model_validate(await self._get(_checks(workspace, agent_id)))

    async def put_checks(self, workspace: str, agent_id: str, order: PutChecks) -> StoredChecks:
        """Replaces them. Raises `agent_not_found`, `validation_failed`, `payload_too_large`, `version_conflict`."""
        return StoredChecks.model_validate(await self._call("PUT", _checks(workspace, agent_id), order.wire()))

    async def run_checks(self, workspace: str, agent_id: str, order: RunChecks) -> CheckRun:
        """Raises `agent_not_found`, `not_found`, `validation_failed` without checks, `rate_limited`."""
        return CheckRun.model_validate(await self._post(_checks(workspace, agent_id) + "/runs", order.wire()))

    async def check_run(self, workspace: str, agent_id: str, run_id: str) -> CheckRun:
        """With its results. Raises `agent_not_found`, `not_found`."""
        return CheckRun.model_validate(await self._get(f"{_checks(workspace, agent_id)}/runs/{run_id}"))

    async def check_runs(self, workspace: str, agent_id: str, query: dict[str, str]) -> dict[str, Any]:
        """`{"items": [run without its results…], "nextCursor"}`, newest first."""
        return await self._page(_checks(workspace, agent_id) + "/runs", query)


def _checks(workspace: str, agent_id: str) -> str:
    return f"/workspaces/{workspace}/drafts/{agent_id}/checks"
