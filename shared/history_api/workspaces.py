"""Workspaces, for operators."""

from typing import Any

from shared.contracts.workspaces import ChangeWorkspace, NewWorkspace, Workspace
from shared.history_api.transport import Transport


class WorkspaceCalls(Transport):
    async def create_workspace(self, name: str) -> Workspace:
        """Idempotent. Raises `gone` for the name of a deleted workspace."""
        return Workspace.model_validate(await self._post("/workspaces", NewWorkspace(name=name).wire()))

    async def workspaces(self, query: dict[str, str]) -> dict[str, Any]:
        """`{"items": [Workspace's wire…], "nextCursor"}`, in the order of their names."""
        return await self._page("/workspaces", query)

    async def workspace(self, name: str) -> Workspace:
        """Raises `not_found`."""
        return Workspace.model_validate(await self._get(f"/workspaces/{name}"))

    async def change_workspace(self, name: str, change: ChangeWorkspace) -> Workspace:
        """Raises `not_found`, also for a workspace that is deleted."""
        return Workspace.model_validate(await self._call("PATCH", f"/workspaces/{name}", change.wire()))

    async def delete_workspace(self, name: str) -> Workspace:
        """Begins the deletion: its keys work no longer. `workspace` has the receipt once all is erased."""
        return Workspace.model_validate(await self._call("DELETE", f"/workspaces/{name}"))
