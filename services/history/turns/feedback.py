"""Feedback about answers. It is a member of its turn's document, so it is erased with the turn."""

from datetime import UTC, datetime
from typing import Any, Final

from services.history.mongo.client import Database
from services.history.mongo.dialect import IdField
from services.history.mongo.filters import Document
from services.history.turns.record import USAGE_ONLY
from services.history.webhooks.subscriptions import Subscriptions
from shared.contracts.errors import ApiError, Code
from shared.contracts.feedback import Feedback, GiveFeedback, Rating

MAX_BACK: Final = 200
_IDS: Final = IdField("feedbackId", "trn")
_FIELDS: Final = {"feedback": 1, "feedbackId": 1, "sessionId": 1, "agentId": 1, "agentVersion": 1}


class FeedbackOfTurns:
    def __init__(self, database: Database, subscriptions: Subscriptions) -> None:
        self._turns = database.turns
        self._subscriptions = subscriptions

    async def give(self, workspace: str, session_id: str, given: GiveFeedback) -> Feedback:
        """May be repeated; the last one counts. Raises `not_found` where the session has no such answer."""
        turn_id = await self._turn_of(workspace, session_id, given.message_id)
        stored: Document = {
            "messageId": given.message_id,
            "rating": given.rating,
            "comment": given.comment,
            "givenAt": datetime.now(UTC),
        }
        change: Document = {"$set": {"feedback": stored, "feedbackId": turn_id, "feedbackRating": given.rating}}
        change = self._subscriptions.pushed(change, workspace, "message.feedback")
        # Not after an erasure: what is left of an erased turn names nobody and says nothing.
        if not await self._turns.update({"_id": turn_id, "workspace": workspace, USAGE_ONLY: None}, change):
            raise _absent()
        found = await self._turns.one({"_id": turn_id, "workspace": workspace}, _FIELDS)
        if found is None or "feedback" not in found:
            raise _absent()
        return _shown(found)

    async def _turn_of(self, workspace: str, session_id: str, message_id: str) -> str:
        """Among the newest turns: nobody rates an answer that lies far back."""
        where = {"workspace": workspace, "sessionId": session_id}
        rows = await self._turns.many(where, fields={"output.id": 1}, order=[("n", -1)], limit=MAX_BACK)
        for row in rows:
            if any(message["id"] == message_id for message in row.get("output", ())):
                return str(row["_id"])
        raise _absent()

    async def page(
        self, workspace: str, agent_id: str | None, rating: Rating | None, before: str | None, limit: int
    ) -> tuple[list[Feedback], str | None]:
        """Of the newest turns first, and the id to go on from."""
        given = {"agentId": agent_id, "feedbackRating": rating}
        where: Document = {"workspace": workspace} | {name: value for name, value in given.items() if value is not None}
        rows, following = await self._turns.page(where, _IDS, "desc", before, limit, _FIELDS)
        return [_shown(row) for row in rows], following


def _absent() -> ApiError:
    return ApiError(Code.NOT_FOUND, f"None of the session's {MAX_BACK} newest turns has an answer with this id.")


def _shown(row: Document) -> Feedback:
    members: dict[str, Any] = {**row, **row["feedback"], "turnId": row["feedbackId"]}
    return Feedback.model_validate(members)
