"""Usage and budgets."""

from typing import Any

from shared.history_api.transport import Transport


class UsageCalls(Transport):
    async def usage(self, workspace: str, query: dict[str, str]) -> dict[str, Any]:
        """`{"items": [UsageRow…], "nextCursor"}`, with members that are null. Raises `invalid_request`."""
        return await self._page(f"/workspaces/{workspace}/usage", query)
