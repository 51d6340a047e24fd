"""The body of a chat completion, in OpenAI's names: which members are taken, refused or ignored. Pure."""

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints, TypeAdapter, ValidationError, field_validator

from services.gateway.completions.fields import ResponseFormat, Stop, ToolChoice
from services.gateway.completions.messages import Lenient, SentMessage, check_results_have_calls, say_nothing
from services.gateway.edge.validation import Metadata, canonical, validated_openai
from shared.contracts.sessions import EndUser, TurnMessage
from shared.contracts.turns import CallerTool, CompletionRequest

MAX_MESSAGES: Final = 2000
MAX_TOOLS: Final = 128
MAX_END_USER: Final = 200
# Generation parameters that go to the model, where the agent allows it.
PASSED: Final = (
    "temperature", "top_p", "max_tokens", "max_completion_tokens", "stop", "seed", "frequency_penalty",
    "presence_penalty", "response_format", "reasoning_effort", "verbosity", "logit_bias", "parallel_tool_calls",
)  # fmt: skip
# Documented by OpenAI and harmless to leave out. The answer is as if they were not there; a header names them.
IGNORED: Final = (
    "function_call", "functions", "logprobs", "moderation", "prediction", "prompt_cache_key", "prompt_cache_options",
    "prompt_cache_retention", "service_tier", "top_logprobs", "web_search_options",
)  # fmt: skip
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_]{1,64}")
_METADATA: Final = TypeAdapter[Any](Metadata)


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

    model: str = Field(description="an agent's id or slug; `slug@3` is its version 3")
    messages: Annotated[list[SentMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: Annotated[list[OfferedTool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: ToolChoice = None
    store: bool | None = None
    user: Any = Field(default=None, description="the end user's id, for the agent's variables")
    safety_identifier: Any = Field(default=None, description="as `user`, which it replaces")
    metadata: Metadata | None = Field(
        default=None, description="used with `store` only; without it, metadata of another shape is ignored"
    )
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
    include_reasoning: bool | None = Field(
        default=None, description="Parley's own: stream the model's reasoning as `reasoning_content`"
    )

    @field_validator("modalities")
    @classmethod
    def _text_only(cls, value: list[str] | None) -> list[str] | None:
        if value is not None and value != ["text"]:
            raise ValueError("only text is supported")
        return value

    @field_validator("messages")
    @classmethod
    def _results_have_calls(cls, value: list[SentMessage]) -> list[SentMessage]:
        check_results_have_calls(value)
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
            end_user=self.end_user(),
        )

    def end_user(self) -> EndUser | None:
        """OpenAI's two names for whoever talks to the agent. A value that is no id is ignored."""
        for value in (self.safety_identifier, self.user):
            if isinstance(value, str) and 0 < len(value) <= MAX_END_USER:
                return EndUser(id=value)
        return None

    @property
    def says_nothing(self) -> bool:
        """Whether only the agent's own instructions would be sent to a model."""
        return say_nothing(self.messages)

    def stored_messages(self, now: datetime) -> tuple[TurnMessage, ...]:
        return tuple(message.stored(now) for message in self.messages)

    def digest(self) -> str:
        """A digest of the question. The form of the answer and who asks are not part of it."""
        question = {
            "model": self.model,
            "messages": [message.model_dump(exclude_none=True) for message in self.messages],
            **self.completion().asked(),
        }
        return hashlib.sha256(canonical(question)).hexdigest()


def parse_completion(value: Any) -> tuple[ChatCompletion, list[str]]:
    """The request, and the names of the members that were ignored. Raises `invalid_request` with `param`."""
    if _has_foreign_metadata(value):
        members = {name: member for name, member in value.items() if name != "metadata"}
        return validated_openai(ChatCompletion, members), sorted([*_ignored(members), "metadata"])
    request = validated_openai(ChatCompletion, value)
    return request, _ignored(value)


def _has_foreign_metadata(value: Any) -> bool:
    """Voice platforms send numbers and nested members. Metadata only matters where the completion is stored."""
    if not isinstance(value, dict) or value.get("metadata") is None or value.get("store"):
        return False
    try:
        _METADATA.validate_python(value["metadata"], strict=True)
    except ValidationError:
        return True
    return False


def _ignored(value: dict[str, Any]) -> list[str]:
    unknown = [name for name in value if name not in ChatCompletion.model_fields and name not in IGNORED]
    documented = [name for name in IGNORED if value.get(name) not in (None, False)]
    return sorted([*documented, *safe_names(unknown)])


def safe_names(names: Sequence[str]) -> list[str]:
    """The names that are safe in a header. They come from the caller."""
    return [name for name in names if _PLAIN_NAME.fullmatch(name)][:20]
