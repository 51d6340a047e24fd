"""Agents and their frozen versions: what answers, with which model, tools, knowledge and limits."""

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from shared.contracts.schema import Schema, Time
from shared.contracts.tools import BuiltinTool, Tool


class ModelChoice(Schema):
    """`upstream` names an entry of the workers' settings; an agent never carries an address or a key of a model."""

    upstream: str = "default"
    name: str


class Knowledge(Schema):
    top_k: int = Field(default=4, ge=0, le=20)


class Limits(Schema):
    max_model_calls: int = Field(default=8, ge=1, le=50)
    max_output_tokens: int | None = Field(default=None, ge=1)
    context_turns: int = Field(default=20, ge=0, le=200)
    context_tokens: int = Field(default=12_000, ge=0)


Question = Annotated[str, Field(min_length=1, max_length=200)]


class Variable(Schema):
    """A declared `{{variable}}` of the agent's texts.

    Without `default` a session must bring its value in `metadata`.
    """

    description: str = Field(default="", max_length=500)
    default: str | None = Field(default=None, max_length=4000)


class AgentConfig(Schema):
    """What a draft holds and publishing freezes.

    `caller_parameters` are the OpenAI parameters that callers may set (None: all). `instructions` and `greeting` may
    hold `{{variables}}`, see `shared/contracts/templates.py`.
    """

    name: str = Field(min_length=1, max_length=200)
    description: str = Field(default="", max_length=2000)
    instructions: str = Field(default="", max_length=100_000)
    greeting: str = Field(default="", max_length=4000)
    suggested_questions: tuple[Question, ...] = Field(default=(), max_length=10)
    variables: dict[str, Variable] = Field(default_factory=dict, max_length=50)
    model: ModelChoice
    fallback_models: tuple[ModelChoice, ...] = ()
    parameters: dict[str, Any] = Field(default_factory=dict)
    caller_parameters: tuple[str, ...] | None = None
    tools: tuple[Tool, ...] = Field(default=(), max_length=128)
    knowledge: Knowledge = Knowledge()
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _tools_have_names_of_their_own(self) -> Self:
        names = [tool.called if isinstance(tool, BuiltinTool) else tool.name for tool in self.tools]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two tools have the name {name}")
        return self


class Passage(Schema):
    source_id: str
    title: str
    text: str
    url: str | None = None


class Agent(Schema):
    """A published agent, as history lists it. `published_version` is None before the first publishing."""

    id: str
    workspace: str
    name: str
    published_version: int | None = None
    created_at: Time


class AgentVersion(Schema):
    """An immutable version.

    Safe to cache by (workspace, agent, number). Number 0 is the draft and must not be cached.
    """

    agent_id: str
    number: int
    config: AgentConfig
    passage_count: int = 0
