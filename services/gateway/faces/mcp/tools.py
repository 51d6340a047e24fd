"""Pure: an agent as a tool, the arguments of a call, and its result."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import Field, StringConstraints

from services.gateway.edge.json_schema import COUNT, TEXT, object_of
from services.gateway.edge.validation import Metadata, validated
from services.gateway.faces.answer import answer_text, citations_of
from shared.contracts.agent_records import SLUG
from shared.contracts.agents import AgentConfig, Variable
from shared.contracts.errors import ApiError, Code
from shared.contracts.schema import PublicRequest

PREFIX: Final = "ask_"
PROBLEM_KEY: Final = "parley/problem"
_HOW: Final = "To go on with a conversation, pass the sessionId of its last answer."
_PASSAGE: Final = object_of(
    {"id": TEXT, "sourceId": TEXT, "title": TEXT}, {"heading": TEXT, "url": TEXT, "page": {"type": "integer"}}
)
OUTPUT: Final = object_of(
    {
        "sessionId": {"type": "string", "description": "the conversation, for the next call"},
        "turnId": TEXT,
        "citations": {
            "type": "array",
            "description": "the passages that markers such as [1] in the text name",
            "items": object_of({"marker": {"type": "integer"}, "start": COUNT, "end": COUNT, "passage": _PASSAGE}),
        },
    }
)


class AskArguments(PublicRequest):
    """`metadata`: of the new session, for the agent's variables."""

    message: Annotated[str, StringConstraints(min_length=1, max_length=100_000, pattern=r"\S")]
    session_id: str | None = None
    metadata: Metadata = Field(default_factory=dict)


def arguments_of(value: Any) -> AskArguments:
    """Raises `validation_failed` with what is wrong in its text, for a model to read."""
    try:
        arguments = validated(AskArguments, value)
    except ApiError as error:
        faults = "; ".join(f"{each['field']}: {each['message']}" for each in error.errors)
        raise ApiError(error.code, f"The arguments are not valid. {faults}", errors=error.errors) from None
    if arguments.session_id is not None and arguments.metadata:
        fault = {"field": "metadata", "message": "can be set for a new session only"}
        raise ApiError(Code.VALIDATION_FAILED, "metadata can be set for a new session only.", errors=[fault])
    return arguments


def slug_of(tool: Any) -> str | None:
    """The agent's slug in the name of a tool. None: no tool has this name."""
    if not isinstance(tool, str) or not tool.startswith(PREFIX):
        return None
    slug = tool.removeprefix(PREFIX)
    return slug if SLUG.fullmatch(slug) else None


def tool_shape(slug: str, agent: AgentConfig) -> dict[str, Any]:
    about = agent.description.strip() or f"Asks the agent {agent.name}."
    properties: dict[str, Any] = {
        "message": {"type": "string", "minLength": 1, "description": "what to say to the agent"},
        "sessionId": {"type": "string", "description": "the conversation to go on with; without it, a new one starts"},
    }
    if agent.variables:
        properties["metadata"] = _metadata(agent.variables)
    return {
        "name": PREFIX + slug,
        "title": agent.name,
        "description": f"{about}\n\n{_HOW}",
        "inputSchema": {
            "type": "object",
            "properties": properties,
            "required": ["message"],
            "additionalProperties": False,
        },
        "outputSchema": OUTPUT,
        # What an agent may change is up to its own tools.
        "annotations": {"title": agent.name, "readOnlyHint": False, "openWorldHint": True},
    }


def _metadata(variables: Mapping[str, Variable]) -> dict[str, Any]:
    return {
        "type": "object",
        "description": "values of the agent's variables, for a new conversation",
        "properties": {
            name: {"type": "string", "description": variable.description} for name, variable in variables.items()
        },
        "required": [name for name, variable in variables.items() if variable.default is None],
        "additionalProperties": {"type": "string"},
    }


def result_of(session_id: str, event: str, data: dict[str, Any]) -> dict[str, Any]:
    """The result of a call from the frame that ended its turn. `session_id`: of the turn."""
    if event == "error":
        return failure_of(ApiError.from_problem(data))
    messages, turn_id = data["messages"], data["turnId"]
    text = answer_text(messages)
    result: dict[str, Any] = {
        "content": [_text(text), {**_text(_note(session_id)), "annotations": {"audience": ["assistant"]}}],
        "structuredContent": {"sessionId": session_id, "turnId": turn_id, "citations": citations_of(messages)},
        "isError": False,
    }
    if data["status"] == "cancelled":
        result["isError"] = True
        result["content"].insert(1, _text("The answer is not complete, because its turn was cancelled."))
    return result


def failure_of(error: ApiError) -> dict[str, Any]:
    """A result that says what went wrong, so that a model can do something about it."""
    return {"content": [_text(error.detail)], "isError": True, "_meta": {PROBLEM_KEY: error.problem()}}


def _note(session_id: str) -> str:
    """Most hosts show their model the texts only, and it has to know how to go on."""
    return f"sessionId: {session_id}"


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}
