"""Feedback about answers."""

from typing import Any

from shared.contracts.feedback import Feedback, GiveFeedback
from shared.history_api.transport import Transport


class FeedbackCalls(Transport):
    async def give_feedback(self, workspace: str, session_id: str, given: GiveFeedback) -> Feedback:
        """Raises `not_found` where the session has no such answer."""
        path = f"/workspaces/{workspace}/sessions/{session_id}/feedback"
        return Feedback.model_validate(await self._post(path, given.wire()))

    async def feedback(self, workspace: str, query: dict[str, str]) -> dict[str, Any]:
        """`{"items": [Feedback's wire…], "nextCursor"}`, of the newest turns first.

        `query`: agentId, rating, cursor, limit. Raises `invalid_request`.
        """
        return await self._page(f"/workspaces/{workspace}/feedback", query)
