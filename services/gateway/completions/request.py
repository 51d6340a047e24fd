"""The body of a chat completion, in OpenAI's names: what is taken, what is refused, what is ignored and said to be. Pure."""

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, field_validator, model_validator

from services.gateway.completions.fields import Content, Name, ResponseFormat, Stop, ToolChoice
from services.gateway.edge.validation import Metadata, canonical, validated_openai
from shared.contracts.sessions import ToolCall, TurnMessage
from shared.contracts.turns import CallerTool, CompletionRequest
from shared.ids import new_id

MAX_MESSAGES: Final = 2000
MAX_TOOLS: Final = 128
# Generation parameters that go to the model, where the agent allows it.
PASSED: Final = (
    "temperature", "top_p", "max_tokens", "max_completion_tokens", "stop", "seed", "frequency_penalty", "presence_penalty",
    "response_format", "reasoning_effort", "verbosity", "logit_bias", "parallel_tool_calls",
)  # fmt: skip
# Documented by OpenAI and harmless to leave out: answered as if they were not there, and named in a header.
IGNORED: Final = (
    "function_call", "functions", "logprobs", "moderation", "prediction", "prompt_cache_key", "prompt_cache_options",
    "prompt_cache_retention", "safety_identifier", "service_tier", "top_logprobs", "user", "web_search_options",
)  # fmt: skip
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")


class Lenient(BaseModel):
    """As OpenAI's own API: unknown members do no harm, wrong types do."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class CalledFunction(Lenient):
    name: Name
    arguments: str


class SentToolCall(Lenient):
    id: Name
    type: Literal["function"] = "function"
    function: CalledFunction


_SAID: Final[JsonValue] = {"not": {"type": "null"}}
_NO_CALLS: Final[JsonValue] = {"maxItems": 0}
_ID: Final[JsonValue] = {"type": "string", "minLength": 1}


def _role(*roles: JsonValue, required: list[JsonValue], **members: JsonValue) -> JsonValue:
    return {"properties": {"role": {"enum": list(roles)}, **members}, "required": required}


# What the validator below demands, for the document.
_ROLES: Final[JsonValue] = [
    _role("system", "developer", "user", required=["content"], content=_SAID, tool_calls=_NO_CALLS),
    _role("tool", required=["content", "tool_call_id"], content=_SAID, tool_calls=_NO_CALLS, tool_call_id=_ID),
    _role("assistant", required=["content"], content=_SAID),
    _role("assistant", required=["tool_calls"], tool_calls={"type": "array", "minItems": 1}),
]


class SentMessage(Lenient):
    """One of the caller's messages. `developer` is another word for `system`."""

    model_config = ConfigDict(json_schema_extra={"anyOf": _ROLES})

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content = None
    name: str | None = None
    tool_calls: list[SentToolCall] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
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

    def stored(self, now: datetime) -> TurnMessage:
        calls = [
            ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments)
            for call in self.tool_calls or ()
        ]
        return TurnMessage(
            id=new_id("msg"),
            role="system" if self.role == "developer" else self.role,
            content=self.content if self.content is not None or calls else self.refusal,
            name=self.name,
            tool_calls=tuple(calls) or None,
            tool_call_id=self.tool_call_id,
            created_at=now,
        )


class OfferedFunction(Lenient):
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class OfferedTool(Lenient):
    type: Literal["function"]
    function: OfferedFunction


class StreamOptions(Lenient):
    include_usage: bool | None = None


class ChatCompletion(Lenient):
    """The request body. Members beyond these are ignored and named in `x-parley-ignored`."""

    model: str = Field(description="an agent's id")
    messages: Annotated[list[SentMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: Annotated[list[OfferedTool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: ToolChoice = None
    store: bool | None = None
    metadata: Metadata | None = None
    n: Annotated[int, Field(ge=1, le=1)] | None = None
    modalities: list[str] | None = Field(default=None, json_schema_extra={"items": {"const": "text"}})
    audio: None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    stop: Stop = None
    seed: int | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    response_format: ResponseFormat = None
    reasoning_effort: Annotated[str, StringConstraints(max_length=64)] | None = None
    verbosity: Annotated[str, StringConstraints(max_length=64)] | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    parallel_tool_calls: bool | None = None

    @field_validator("modalities")
    @classmethod
    def _text_only(cls, value: list[str] | None) -> list[str] | None:
        if value is not None and value != ["text"]:
            raise ValueError("only text is offered")
        return value

    @field_validator("messages")
    @classmethod
    def _answers_have_calls(cls, value: list[SentMessage]) -> list[SentMessage]:
        called: set[str | None] = set()
        for message in value:
            called.update(call.id for call in message.tool_calls or ())
            if message.role == "tool" and message.tool_call_id not in called:
                raise ValueError("a tool message must answer a tool call of an earlier assistant message")
        return value

    @field_validator("tool_choice")
    @classmethod
    def _tool_is_offered(cls, value: str | dict[str, Any] | None, info: Any) -> str | dict[str, Any] | None:
        offered = {tool.function.name for tool in info.data.get("tools") or ()}
        if isinstance(value, dict) and value["function"]["name"] not in offered:
            raise ValueError("names a function that is not among the tools")
        return value

    @property
    def include_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    def parameters(self) -> dict[str, Any]:
        """The generation parameters that were sent."""
        return {name: value for name in PASSED if (value := getattr(self, name)) is not None}

    def completion(self) -> CompletionRequest:
        return CompletionRequest(
            parameters=self.parameters(),
            tools=tuple(CallerTool(function=tool.function.model_dump(exclude_none=True)) for tool in self.tools or ()),
            tool_choice=self.tool_choice,
            store=bool(self.store),
            metadata=self.metadata or {},
        )

    def stored_messages(self, now: datetime) -> tuple[TurnMessage, ...]:
        return tuple(message.stored(now) for message in self.messages)

    def digest(self) -> str:
        """Of what is asked, not of how the answer is to be delivered."""
        asked = {
            "model": self.model,
            "messages": [message.model_dump(exclude_none=True) for message in self.messages],
            **self.completion().wire(),
        }
        return hashlib.sha256(canonical(asked)).hexdigest()


def parse_completion(value: Any) -> tuple[ChatCompletion, list[str]]:
    """The request, and the names of the members that were sent in vain. Raises `invalid_request` with `param`."""
    request = validated_openai(ChatCompletion, value)
    return request, _ignored(value)


def _ignored(value: dict[str, Any]) -> list[str]:
    unknown = [name for name in value if name not in ChatCompletion.model_fields and name not in IGNORED]
    documented = [name for name in IGNORED if value.get(name) not in (None, False)]
    return sorted([*documented, *safe_names(unknown)])


def safe_names(names: Sequence[str]) -> list[str]:
    """Those of a stranger's names that may stand in a header."""
    return [name for name in names if _PLAIN_NAME.fullmatch(name)][:20]
