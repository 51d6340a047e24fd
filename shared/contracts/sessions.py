"""Sessions and the messages of their transcripts, in the public API's shapes."""

from collections.abc import Iterable
from typing import Any, Final, Literal

from pydantic import Field

from shared.contracts.schema import Schema, Time

SessionStatus = Literal["active", "ended"]
# Of an id that a client gives a session or a message itself, as chat kits do.
MAX_CLIENT_ID: Final = 200
EndedReason = Literal["api", "agent", "visitor", "expired"]


class EndUser(Schema):
    """Whoever talks to the agent, in the caller's own terms. Its `id` is the caller's, and means nothing here."""

    id: str = Field(min_length=1, max_length=200)
    name: str | None = Field(default=None, max_length=200)
    metadata: dict[str, str] = Field(default_factory=dict)


class Session(Schema):
    id: str
    agent_id: str
    agent_version: int = Field(description="0 in draft mode")
    client_id: str | None = Field(default=None, description="the client's own id of it, unique for its agent")
    status: SessionStatus
    metadata: dict[str, str] = Field(default_factory=dict)
    end_user: EndUser | None = None
    collected: dict[str, dict[str, Any]] | None = Field(
        default=None, description="the forms that the agent's `collect` tools have filled in, by the tools' names"
    )
    turn_count: int = 0
    created_at: Time
    last_message_at: Time | None = None
    ended_at: Time | None = None
    ended_reason: EndedReason | None = None


class SessionState(Schema):
    """As much of a session as tells a follower whether it has missed something. `active`: a turn is under way."""

    status: SessionStatus
    turn_count: int = 0
    active: bool = False


class ToolCall(Schema):
    """A call of a tool. `arguments` is the JSON text as the model wrote it.

    `companions` are opaque members of the call, as JSON text, that its upstream wants back (such as Gemini's thought
    signatures).
    """

    id: str
    name: str
    arguments: str
    companions: str | None = None


class PassageName(Schema):
    """Where a passage stands, without its text. `heading` is the path of headings above it, `page` counts from 1."""

    id: str = ""
    source_id: str
    title: str
    heading: str | None = None
    url: str | None = None
    page: int | None = None


class RetrievedPassage(PassageName):
    """`marker` is the number under which the model was shown the passage: `[n]` in the answer names it.

    `legs` are what found it; they are for previews and are neither sent nor stored. `text` may be empty in a stored
    search that the model made itself: the tool's result has it.
    """

    text: str
    score: float
    marker: int | None = None
    legs: tuple[str, ...] = Field(default=(), exclude=True)


class Citation(Schema):
    """A marker in an answer. `start` and `end` are its place in `content`, in Unicode characters, `end` excluded.

    A marker that names several passages, such as `[1, 2]`, gives one citation for each of them.
    """

    marker: int
    start: int
    end: int
    passage: PassageName


class Retrieval(Schema):
    query: str
    passages: tuple[RetrievedPassage, ...] = ()


class Message(Schema):
    """As much of a message as a model is shown. `content` is None only for an assistant message of tool calls.

    `companions` are opaque members of the model's message, as JSON text, and `upstream` names the only server that gets
    them, and those of the calls, back. None: the server of the agent's model, for messages that a caller has sent.
    """

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] | None = None
    tool_call_id: str | None = None
    companions: str | None = None
    upstream: str | None = None


class TurnMessage(Message):
    """A message inside its turn.

    `empty`: the model ended its answer without text and calls; no later prompt has the message. `knowledge`: the
    searches that were made for the message. `client_id`: the id that its client has given it. `failed`: of a
    tool's result: the tool has failed.
    """

    id: str
    client_id: str | None = None
    knowledge: tuple[Retrieval, ...] | None = None
    citations: tuple[Citation, ...] | None = None
    status: Literal["complete", "partial"] = "complete"
    empty: bool | None = None
    failed: bool | None = None
    created_at: Time

    def public(self, session_id: str | None, turn_id: str) -> dict[str, Any]:
        """The message as the API shows it."""
        head = {"id": self.id, "sessionId": session_id, "turnId": turn_id}
        shown = {name: value for name, value in head.items() if value is not None} | self.wire()
        return shown if session_id is None else _without_companions(shown)


def _without_companions(message: dict[str, Any]) -> dict[str, Any]:
    """A session's reader has no use for them.

    The caller of a completion does: it sends its conversation again each time.
    """
    if "upstream" not in message:
        return message
    plain = {name: value for name, value in message.items() if name not in ("companions", "upstream")}
    plain["toolCalls"] = [
        {name: value for name, value in call.items() if name != "companions"} for call in message.get("toolCalls") or ()
    ]
    return plain


def without_markers(content: str, places: Iterable[tuple[int, int]]) -> str:
    """An answer's text without the markers of its citations.

    `places`: their starts and ends, each place once or more.
    """
    for start, end in sorted(set(places), reverse=True):
        content = content[:start].removesuffix(" ") + content[end:]
    return content
