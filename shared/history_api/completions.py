"""Completions that their callers asked to be kept."""

from collections.abc import Sequence
from typing import Any

from shared.contracts.turns import (
    StoredTurn,
)
from shared.history_api.transport import Transport


class CompletionCalls(Transport):
    async def completions(self, workspace: str, query: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """`{"items": [StoredTurn's wire, without the caller's messages…], "nextCursor"}`.

        `query`: agentId, after (a turn id), limit, order, and any number of label=`["name","value"]`. Raises
        `invalid_request`.
        """
        page: dict[str, Any] = await self._call("GET", f"/workspaces/{workspace}/completions", None, query)
        return page

    async def update_completion(self, workspace: str, turn_id: str, metadata: dict[str, str]) -> StoredTurn:
        """Replaces a stored completion's metadata. Raises `turn_not_found`."""
        return StoredTurn.model_validate(
            await self._post(f"/workspaces/{workspace}/completions/{turn_id}", {"metadata": metadata})
        )

    async def delete_completion(self, workspace: str, turn_id: str, actor: str | None = None) -> None:
        """Idempotent for one that was stored; raises `turn_not_found` for any other."""
        query = {"actor": actor} if actor is not None else None
        await self._call("DELETE", f"/workspaces/{workspace}/completions/{turn_id}", query=query)
