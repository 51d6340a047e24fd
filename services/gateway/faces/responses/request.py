"""The body of `POST /responses`, in OpenAI's names: which members are taken, refused or ignored. Pure."""

import hashlib
import re
from typing import Annotated, Any, Final

from pydantic import Field, StringConstraints, field_validator

from services.gateway.edge.validation import Metadata, canonical, refused, validated_openai
from services.gateway.faces.responses.fields import (
    Conversation,
    FunctionTool,
    Input,
    Lenient,
    Reasoning,
    TextConfig,
    ToolChoice,
    response_format,
)
from shared.contracts.sessions import EndUser
from shared.contracts.turns import CallerTool, CompletionRequest

MAX_TOOLS: Final = 128
MAX_END_USER: Final = 200
MAX_INSTRUCTIONS: Final = 100_000
RESULTS: Final = "file_search_call.results"
# Documented by OpenAI and harmless to leave out. The answer is as if they were not there; a header names them.
IGNORED: Final = (
    "context_management", "max_tool_calls", "moderation", "prompt_cache_key", "prompt_cache_options",
    "prompt_cache_retention", "service_tier", "top_logprobs",
)  # fmt: skip
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_]{1,64}")
Instructions = Annotated[str, StringConstraints(max_length=MAX_INSTRUCTIONS)]


class CreateResponse(Lenient):
    """The request body. Members beyond these are ignored and named in `x-parley-ignored`."""

    model: str | None = Field(
        default=None,
        description="an agent's id or slug; `slug@3` is its version 3. It may be left out where a conversation goes on",
    )
    input: Input
    instructions: Instructions | None = Field(
        default=None, description="added to the agent's own, for this response only"
    )
    previous_response_id: str | None = Field(
        default=None, description="the response that this one follows; an older one than the last starts a branch"
    )
    conversation: Conversation = None
    store: bool | None = Field(default=None, description="true unless it is false: then nothing is kept")
    stream: bool | None = None
    background: bool | None = None
    include: list[str] | None = Field(default=None, description=f"`{RESULTS}` adds the passages that were found")
    tools: Annotated[list[FunctionTool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: ToolChoice = None
    parallel_tool_calls: bool | None = None
    metadata: Metadata | None = None
    user: Any = Field(default=None, description="the end user's id, for the agent's variables")
    safety_identifier: Any = Field(default=None, description="as `user`, which it replaces")
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    reasoning: Reasoning | None = None
    text: TextConfig | None = None
    truncation: str | None = None
    prompt: None = Field(default=None, description="not supported: an agent's instructions are its own")

    @field_validator("text")
    @classmethod
    def _format_is_known(cls, value: TextConfig | None) -> TextConfig | None:
        if value is not None:
            response_format(value.format)
        return value

    @property
    def stored(self) -> bool:
        return self.store is not False

    @property
    def begins(self) -> bool:
        """Whether no earlier response is continued."""
        return self.previous_response_id is None and self.conversation is None

    @property
    def shows_results(self) -> bool:
        return RESULTS in (self.include or ())

    def parameters(self) -> dict[str, Any]:
        """The generation parameters that were sent, as chat completions name them."""
        text = self.text or TextConfig()
        given = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "frequency_penalty": self.frequency_penalty,
            "presence_penalty": self.presence_penalty,
            "max_completion_tokens": self.max_output_tokens,
            "parallel_tool_calls": self.parallel_tool_calls,
            "reasoning_effort": self.reasoning.effort if self.reasoning else None,
            "response_format": response_format(text.format),
            "verbosity": text.verbosity,
        }
        return {name: value for name, value in given.items() if value is not None}

    def completion(self, previous: str | None) -> CompletionRequest:
        """`previous`: the id of the turn that is named as the one before."""
        choice, tools = _chat_choice(self.tool_choice), self.tools or ()
        if isinstance(self.tool_choice, dict) and self.tool_choice["type"] == "allowed_tools":
            allowed = _named(self.tool_choice)
            choice, tools = self.tool_choice["mode"], [tool for tool in tools if tool.name in allowed]
        return CompletionRequest(
            parameters=self.parameters(),
            tools=tuple(CallerTool(function=tool.function()) for tool in tools),
            tool_choice=choice,
            store=self.stored,
            metadata=self.metadata or {},
            end_user=self.end_user(),
            is_response=True,
            instructions=self.instructions or None,
            background=bool(self.background),
            previous=previous,
        )

    def end_user(self) -> EndUser | None:
        """A value that is no id is ignored."""
        for value in (self.safety_identifier, self.user):
            if isinstance(value, str) and 0 < len(value) <= MAX_END_USER:
                return EndUser(id=value)
        return None

    def digest(self) -> str:
        """A digest of the question. The form of the answer and who asks are not part of it."""
        question = {
            "model": self.model,
            "input": self.input,
            "conversation": self.conversation,
            **self.completion(self.previous_response_id).asked(),
        }
        return hashlib.sha256(canonical(question)).hexdigest()


def parse_response(value: Any) -> tuple[CreateResponse, list[str]]:
    """The request, and the names of the members that were ignored. Raises `invalid_request` with `param`."""
    request = validated_openai(CreateResponse, value)
    _check(request)
    unknown = [name for name in value if name not in CreateResponse.model_fields and name not in IGNORED]
    documented = [name for name in IGNORED if value.get(name) not in (None, False)]
    return request, sorted([*documented, *[name for name in unknown if _PLAIN_NAME.fullmatch(name)][:20]])


def _check(request: CreateResponse) -> None:
    """Members that do not go together."""
    if request.previous_response_id is not None and request.conversation is not None:
        raise refused("previous_response_id", "must not stand beside conversation")
    if request.model is None and request.begins:
        raise refused("model", "is missing")
    if not request.stored and (request.background or not request.begins):
        raise refused("store", "must not be false for a background response, or where a conversation goes on")
    if not _named(request.tool_choice) <= {tool.name for tool in request.tools or ()}:
        raise refused("tool_choice", "names a function that is not among the tools")


def _named(choice: dict[str, Any] | str | None) -> set[str]:
    """The functions that a choice names."""
    if not isinstance(choice, dict):
        return set()
    return {choice["name"]} if choice["type"] == "function" else {tool["name"] for tool in choice["tools"]}


def _chat_choice(choice: dict[str, Any] | str | None) -> dict[str, Any] | str | None:
    if isinstance(choice, dict) and choice["type"] == "function":
        return {"type": "function", "function": {"name": choice["name"]}}
    return choice
