"""Pure: the RunAgentInput that AG-UI's clients send, as far as it counts here.

The conversation is the server's: of the client's messages only those behind the last answer are read. The ids of the
earlier ones tell where the run belongs, because ids of answers name their turns.
"""

from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from services.gateway.edge.validation import refused
from services.gateway.faces.agui.ids import callers_call, turn_of
from services.gateway.faces.chats import NewChat, checked_id
from shared.contracts.errors import ApiError, Code
from shared.contracts.turns import CallerTool, CompletionRequest

MAX_TEXT: Final = 100_000
MAX_TOOLS: Final = 128
MAX_CONTEXT: Final = 100_000


class _Lenient(BaseModel):
    """Unknown members are passed over: newer clients have more."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, hide_input_in_errors=True)


class FrontendTool(_Lenient):
    """A tool that the client runs."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    description: str = ""
    parameters: dict[str, Any] | None = None


class ContextItem(_Lenient):
    description: str
    value: str


class ForwardedProps(NewChat):
    reasoning: bool = Field(default=False, description="also stream the model's reasoning")


class RunAgentInput(_Lenient):
    thread_id: str = Field(alias="threadId", description="the client's own id of the conversation")
    run_id: str = Field(alias="runId", description="the client's own id of the run; a repeat gets the same turn")
    messages: list[dict[str, Any]] = Field(description="the conversation as the client shows it")
    tools: list[FrontendTool] = Field(
        default_factory=list, max_length=MAX_TOOLS, description="tools that the client runs"
    )
    context: list[ContextItem] = Field(default_factory=list, description="what the model is told for this run")
    forwarded_props: ForwardedProps | None = Field(default=None, alias="forwardedProps")

    def checked(self) -> "RunAgentInput":
        """Raises `invalid_request`."""
        checked_id("threadId", self.thread_id)
        checked_id("runId", self.run_id)
        return self

    @property
    def props(self) -> ForwardedProps:
        return self.forwarded_props or ForwardedProps()

    def completion(self) -> CompletionRequest | None:
        """What the client adds to the agent for this run. Raises `validation_failed`."""
        told = "\n".join(f"{item.description}: {item.value}" for item in self.context)
        if len(told) > MAX_CONTEXT:
            raise _invalid("context", f"has more than {MAX_CONTEXT} characters")
        if not told and not self.tools:
            return None
        functions = [tool.model_dump(exclude_none=True) for tool in self.tools]
        instructions = f"What the application says:\n{told}" if told else None
        return CompletionRequest(
            tools=tuple(CallerTool(function=function) for function in functions), instructions=instructions
        )


class Said(NamedTuple):
    """A message of the client. `call_id`: the model's id of the call that a tool's result answers."""

    role: str
    content: str
    id: str | None
    call_id: str | None = None


class Asked(NamedTuple):
    """What a run answers. `before`: the client's messages without what an earlier attempt at this run has shown.

    `parent`: the turn of the last answer among them. None: the client shows no answer of this agent.
    """

    messages: tuple[Said, ...]
    before: list[dict[str, Any]]
    parent: str | None


def asked(messages: list[dict[str, Any]]) -> Asked:
    """Raises `invalid_request`, `validation_failed`."""
    before = list(messages)
    while before and not _asks(before[-1]):
        before.pop()
    start = len(before)
    if start and before[-1].get("role") == "user":
        start -= 1
    while start and before[start - 1].get("role") == "tool" and _asks(before[start - 1]):
        start -= 1
    if start == len(before):
        raise _invalid("messages", "has no message of the user and no result of a tool")
    turns = (turn_of(message.get("id")) for message in reversed(before[:start]))
    parent = next((turn for turn in turns if turn is not None), None)
    return Asked(tuple(map(_said, before[start:])), before, parent)


def _asks(message: dict[str, Any]) -> bool:
    """Results of the server's own tools do not: they belong to an answer."""
    role = message.get("role")
    return role == "user" or (role == "tool" and callers_call(message.get("toolCallId")) is not None)


def _said(message: dict[str, Any]) -> Said:
    role, given = str(message["role"]), message.get("id")
    client_id = checked_id("messages", given) if isinstance(given, str) and given else None
    text = _text(message.get("content"))
    if role == "tool":
        return Said(role, text or "(no result)", client_id, callers_call(message.get("toolCallId")))
    if not text.strip():
        raise _invalid("messages", "ends with a message without text")
    return Said(role, text, client_id)


def _text(content: Any) -> str:
    if isinstance(content, list):
        if any(not isinstance(part, dict) or part.get("type") != "text" for part in content):
            raise refused("messages", "has a part that is no text; the agent takes text only")
        content = "\n".join(str(part.get("text") or "") for part in content)
    text = content if isinstance(content, str) else ""
    if len(text) > MAX_TEXT:
        raise _invalid("messages", f"ends with more than {MAX_TEXT} characters")
    return text


def _invalid(field: str, message: str) -> ApiError:
    return ApiError(Code.VALIDATION_FAILED, errors=[{"field": field, "message": message}])
