"""Usage and budgets."""

from typing import Any
from urllib.parse import quote

from shared.contracts.budgets import Budget, StoreBudget, Subject
from shared.history_api.transport import Transport


class UsageCalls(Transport):
    async def usage(self, workspace: str, query: dict[str, str]) -> dict[str, Any]:
        """`{"items": [UsageRow…], "nextCursor", "pending"}`, with members that are null. Raises `invalid_request`.

        `pending`: UsagePending's wire, or null.
        """
        return await self._page(f"/workspaces/{workspace}/usage", query)

    async def budgets(self, workspace: str, query: dict[str, str]) -> dict[str, Any]:
        """`{"items": [Budget's wire…], "nextCursor"}`."""
        return await self._page(f"/workspaces/{workspace}/budgets", query)

    async def budget(self, workspace: str, subject: Subject) -> Budget:
        """Raises `not_found`."""
        return Budget.model_validate(await self._get(_path(workspace, subject)))

    async def put_budget(self, workspace: str, subject: Subject, order: StoreBudget) -> Budget:
        """Raises `agent_not_found`, `not_found` and `validation_failed`."""
        return Budget.model_validate(await self._call("PUT", _path(workspace, subject), order.wire()))

    async def remove_budget(self, workspace: str, subject: Subject, actor: str | None = None) -> None:
        """Raises `not_found`."""
        query = {"actor": actor} if actor is not None else None
        await self._call("DELETE", _path(workspace, subject), None, query)


def _path(workspace: str, subject: Subject) -> str:
    return f"/workspaces/{workspace}/budgets/{quote(subject.text, safe='')}"
