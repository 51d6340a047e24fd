"""Which sessions a list shows. Each filter has an index of its own whose last member is the session's id."""

from typing import Final

from pydantic import BaseModel, Field

from services.history.mongo.filters import Document, all_of, one_of
from shared.ids import id_at

VISIBLE: Final = ("active", "ended")
MAX_LABELS: Final = 16


class SessionFilters(BaseModel):
    """`labels`: pairs of metadata in the form of `labels_of`. The times are those of creation, in milliseconds."""

    agent_id: str | None = None
    agent_version: int | None = None
    status: str | None = None
    labels: tuple[str, ...] = Field(default=(), max_length=MAX_LABELS)
    end_user: str | None = None
    created_from: int | None = None
    created_before: int | None = None

    def where(self, workspace: str) -> Document:
        """All but the times, which are bounds of the page."""
        where: Document = {"workspace": workspace, "status": self.status or one_of(VISIBLE)}
        given = {"agentId": self.agent_id, "agentVersion": self.agent_version, "endUserId": self.end_user}
        where |= {name: value for name, value in given.items() if value is not None}
        if self.labels:
            where["labels"] = all_of(self.labels)
        return where

    def admit(self, workspace: str, session: Document) -> bool:
        """The same as `where`, for a session that was read."""
        given = {"agentId": self.agent_id, "agentVersion": self.agent_version, "endUserId": self.end_user}
        return (
            session["workspace"] == workspace
            and session["status"] in ((self.status,) if self.status else VISIBLE)
            and all(session.get(name) == value for name, value in given.items() if value is not None)
            and set(self.labels) <= set(session.get("labels", ()))
        )

    @property
    def narrows(self) -> bool:
        """Whether a filter may let few sessions through. A status or a time alone seldom does."""
        return bool(self.agent_id or self.end_user or self.labels)

    def bounds(self) -> tuple[str | None, str | None]:
        """The ids of sessions that the times stand for: included, and excluded."""
        low, high = (
            id_at("ses", time_ms) if time_ms is not None else None
            for time_ms in (self.created_from, self.created_before)
        )
        return low, high
