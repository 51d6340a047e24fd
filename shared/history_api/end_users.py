"""End users: their erasure, and what is held of them beside their sessions."""

from typing import Any

from shared.contracts.end_users import EndUserErasure, EraseEndUser
from shared.contracts.turns import StoredTurn
from shared.history_api.transport import Transport


class EndUserCalls(Transport):
    async def erase_end_user(self, workspace: str, order: EraseEndUser) -> EndUserErasure:
        """Begins the erasure, or finds the one that runs. `end_user_erasure` has the receipt once all is erased."""
        return EndUserErasure.model_validate(
            await self._post(f"/workspaces/{workspace}/end-user-erasures", order.wire())
        )

    async def end_user_erasures(self, workspace: str, query: dict[str, str]) -> dict[str, Any]:
        """`{"items": [EndUserErasure's wire…], "nextCursor"}`, newest first."""
        return await self._page(f"/workspaces/{workspace}/end-user-erasures", query)

    async def end_user_erasure(self, workspace: str, erasure_id: str) -> EndUserErasure:
        """Raises `not_found`."""
        return EndUserErasure.model_validate(await self._get(f"/workspaces/{workspace}/end-user-erasures/{erasure_id}"))

    async def end_user_completions(
        self, workspace: str, end_user: str, after: str | None, limit: int
    ) -> tuple[list[StoredTurn], str | None]:
        """Oldest first, and the `after` of the next page."""
        query = {"endUser": end_user, "limit": str(limit), **({"after": after} if after else {})}
        page = await self._page(f"/workspaces/{workspace}/end-user-completions", query)
        return [StoredTurn.model_validate(item) for item in page["items"]], page["nextCursor"]

    async def record_export(self, workspace: str, export_id: str, actor: str | None) -> None:
        """Writes the audit entry of an export of an end user's data."""
        await self._post(f"/workspaces/{workspace}/end-user-exports", {"id": export_id, "actor": actor})
