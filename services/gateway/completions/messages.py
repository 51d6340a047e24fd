"""The caller's messages in the body of a chat completion, in OpenAI's names. Pure."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, model_validator

from services.gateway.completions.companions import sent_companions
from services.gateway.completions.fields import CallId, Content, Name
from shared.contracts.companions import CALL_MEMBERS, MESSAGE_MEMBERS
from shared.contracts.sessions import ToolCall, TurnMessage
from shared.ids import new_id


class Lenient(BaseModel):
    """Like OpenAI's own API: unknown members are ignored, wrong types are refused."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class CalledFunction(Lenient):
    name: Name
    arguments: str


class SentToolCall(Lenient):
    id: CallId
    type: Literal["function"] = "function"
    function: CalledFunction
    extra_content: Any = Field(default=None, description="sent back as the answer had it, as the members below")
    provider_specific_fields: Any = None
    thought_signature: Any = None
    signature: Any = None


class Origin(Lenient):
    """Which of the operator's model servers wrote a message, as the answer said."""

    upstream: Annotated[str, StringConstraints(max_length=64)] | None = None


_NOT_NULL: Final[JsonValue] = {"not": {"type": "null"}}
_NO_CALLS: Final[JsonValue] = {"maxItems": 0}
_ID: Final[JsonValue] = {"type": "string", "minLength": 1}


def _role(*roles: JsonValue, required: list[JsonValue], **members: JsonValue) -> JsonValue:
    return {"properties": {"role": {"enum": list(roles)}, **members}, "required": required}


# What the validator below demands, for the OpenAPI document.
_ROLES: Final[JsonValue] = [
    _role("system", "developer", "user", required=["content"], content=_NOT_NULL, tool_calls=_NO_CALLS),
    _role("tool", required=["content", "tool_call_id"], content=_NOT_NULL, tool_calls=_NO_CALLS, tool_call_id=_ID),
    _role("assistant", required=["content"], content=_NOT_NULL),
    _role("assistant", required=["tool_calls"], tool_calls={"type": "array", "minItems": 1, "items": {}}),
]


class SentMessage(Lenient):
    """One of the caller's messages. `developer` is another name of `system`."""

    model_config = ConfigDict(json_schema_extra={"anyOf": _ROLES})

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content = None
    name: str | None = None
    tool_calls: list[SentToolCall] | None = None
    tool_call_id: CallId | None = None
    refusal: str | None = None
    reasoning_content: Any = Field(default=None, description="sent back as the answer had it, as the members below")
    reasoning: Any = None
    reasoning_details: Any = None
    reasoning_opaque: Any = None
    thinking_blocks: Any = None
    content_parts: Any = None
    extra_content: Any = None
    provider_specific_fields: Any = None
    parley: Origin | None = None

    @model_validator(mode="after")
    def _has_what_its_role_needs(self) -> Self:
        if self.role == "tool" and not self.tool_call_id:
            raise ValueError("a tool message needs a tool_call_id")
        if self.role == "assistant":
            if self.content is None and not self.tool_calls and self.refusal is None:
                raise ValueError("an assistant message needs content or tool_calls")
        elif self.content is None:
            raise ValueError(f"a {self.role} message needs content")
        elif self.tool_calls:
            raise ValueError(f"a {self.role} message cannot hold tool_calls")
        return self

    @property
    def text(self) -> str | None:
        return self.content if self.content is not None or self.tool_calls else self.refusal

    def stored(self, now: datetime) -> TurnMessage:
        calls = [
            ToolCall(
                id=call.id,
                name=call.function.name,
                arguments=call.function.arguments,
                companions=sent_companions(call, CALL_MEMBERS),
            )
            for call in self.tool_calls or ()
        ]
        return TurnMessage(
            id=new_id("msg"),
            role="system" if self.role == "developer" else self.role,
            content=self.text,
            name=self.name,
            tool_calls=tuple(calls) or None,
            tool_call_id=self.tool_call_id,
            companions=sent_companions(self, MESSAGE_MEMBERS) if calls else None,
            upstream=self.parley.upstream if self.parley is not None and calls else None,
            created_at=now,
        )


def check_results_have_calls(messages: Sequence[SentMessage]) -> None:
    """A result may come late, behind other messages, but not before its call. Raises ValueError."""
    called: set[str | None] = set()
    for message in messages:
        called.update(call.id for call in message.tool_calls or ())
        if message.role == "tool" and message.tool_call_id not in called:
            raise ValueError("a tool message must answer a tool call of an earlier assistant message")


def say_nothing(messages: Sequence[SentMessage]) -> bool:
    """Whether a model would be sent no message at all, if the agent has no instructions of its own.

    Empty messages of the system and of the assistant are left out of prompts.
    """
    return all(
        message.role in ("system", "developer", "assistant")
        and not message.tool_calls
        and not (message.text or "").strip()
        for message in messages
    )
