"""Sessions and the messages of their transcripts, in the public API's shapes."""

from typing import Any, Literal

from pydantic import Field

from shared.contracts.schema import Schema, Time

SessionStatus = Literal["active", "ended"]
EndedReason = Literal["api", "agent", "visitor", "expired"]


class Session(Schema):
    id: str
    agent_id: str
    agent_version: int = Field(description="0 in draft mode")
    status: SessionStatus
    metadata: dict[str, str] = Field(default_factory=dict)
    turn_count: int = 0
    created_at: Time
    last_message_at: Time | None = None
    ended_at: Time | None = None
    ended_reason: EndedReason | None = None


class ToolCall(Schema):
    """A call of a tool. `arguments` is the JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str


class RetrievedPassage(Schema):
    source_id: str
    title: str
    url: str | None = None
    text: str
    score: float


class Retrieval(Schema):
    query: str
    passages: tuple[RetrievedPassage, ...] = ()


class Message(Schema):
    """What is said: as much of a message as a model is shown. `content` is None only for an assistant message of tool calls."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] | None = None
    tool_call_id: str | None = None


class TurnMessage(Message):
    """A message inside its turn."""

    id: str
    knowledge: tuple[Retrieval, ...] | None = None
    status: Literal["complete", "partial"] = "complete"
    created_at: Time

    def public(self, session_id: str | None, turn_id: str) -> dict[str, Any]:
        """The message as the API shows it."""
        head = {"id": self.id, "sessionId": session_id, "turnId": turn_id}
        return {name: value for name, value in head.items() if value is not None} | self.wire()
