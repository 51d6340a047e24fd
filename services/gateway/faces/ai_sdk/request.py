"""Pure: what `DefaultChatTransport` sends, as far as it counts here.

The conversation is the server's: of the client's messages only the last one is read.
"""

from typing import Any, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from services.gateway.edge.validation import refused, validated
from services.gateway.faces.chats import NewChat, checked_id
from shared.contracts.errors import ApiError, Code

MAX_TEXT: Final = 100_000
MAX_PARTS: Final = 1_000


class UiMessage(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, hide_input_in_errors=True)

    id: str | None = None
    role: Literal["system", "user", "assistant"] = "user"
    parts: list[dict[str, Any]] = Field(max_length=MAX_PARTS, description="of type text")


class Submitted(NamedTuple):
    """A message of the user. `id` is the client's own."""

    id: str | None
    text: str


class ChatRequest(NewChat):
    """Unknown members are passed over: `useChat` has an option with which pages add their own."""

    id: str = Field(description="the chat's id, which the client makes")
    messages: list[dict[str, Any]] = Field(default_factory=list, description="the last one counts")
    message: UiMessage | None = Field(default=None, description="in place of `messages`")
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"
    message_id: str | None = Field(
        default=None, alias="messageId", description="the answer to replace, or the user's message that was edited"
    )

    reasoning: bool = Field(default=False, description="also stream the model's reasoning")

    @property
    def chat_id(self) -> str:
        """Raises `invalid_request`."""
        return checked_id("id", self.id)

    def submitted(self) -> Submitted | None:
        """The user's message; None if an answer is to be regenerated. Raises `invalid_request`, `validation_failed`."""
        if self.trigger == "regenerate-message":
            return None
        if self.message is not None:
            last = self.message
        elif self.messages:
            last = validated(UiMessage, self.messages[-1])
        else:
            raise refused("messages", "must not be empty")
        if last.role != "user":
            raise refused("messages", "must end with a message of the user")
        return Submitted(checked_id("messages", last.id) if last.id else None, _text(last.parts))


class StopRequest(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, hide_input_in_errors=True)

    active_stream_id: str | None = Field(
        default=None, alias="activeStreamId", description="the id of the answer to stop; another one goes on"
    )


def _text(parts: list[dict[str, Any]]) -> str:
    if any(part.get("type") == "file" for part in parts):
        raise refused("messages", "has a file; the agent takes text only")
    texts = [part.get("text") for part in parts if part.get("type") == "text"]
    text = "\n".join(text for text in texts if isinstance(text, str))
    if not text.strip():
        raise _invalid("The last message has no text")
    if len(text) > MAX_TEXT:
        raise _invalid(f"The last message has more than {MAX_TEXT} characters")
    return text


def _invalid(message: str) -> ApiError:
    return ApiError(Code.VALIDATION_FAILED, errors=[{"field": "messages", "message": message}])
