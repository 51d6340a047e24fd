"""Agents and their frozen versions: what answers, with which model, tools, knowledge and limits."""

import hashlib
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from shared.contracts.guardrails import Guardrail
from shared.contracts.redaction import Redaction
from shared.contracts.schema import Schema, Time
from shared.contracts.tools import BuiltinTool, Tool


class ModelChoice(Schema):
    """`upstream` names an entry of the workers' settings; an agent never carries an address or a key of a model."""

    upstream: str = "default"
    name: str


class Knowledge(Schema):
    """`min_score`: passages that score lower are not used; a question without any other passage is a gap.

    Scores go from 0 to 1: the share of the question that a passage's words have, where rare words weigh more, or with
    embeddings the cosine of its vector if that is higher. None: every passage that the retriever returns is used.
    `citations`: the model is asked for markers such as `[1]`. `share_sources`: MCP clients may read the texts of the
    sources.
    """

    top_k: int = Field(default=4, ge=0, le=20)
    min_score: float | None = None
    citations: bool = True
    share_sources: bool = False


class Limits(Schema):
    max_model_calls: int = Field(default=8, ge=1, le=50)
    max_output_tokens: int | None = Field(default=None, ge=1)
    context_turns: int = Field(default=20, ge=0, le=200)
    context_tokens: int = Field(default=12_000, ge=0)


class Retention(Schema):
    """`transcript_days`: a session is erased so many days after its last message, and a stored completion so many days
    after it was asked for. None: they are kept. What they used stays counted.
    """

    transcript_days: int | None = Field(default=None, ge=1, le=36_500)


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
    guardrails: tuple[Guardrail, ...] = Field(default=(), max_length=16)
    limits: Limits = Limits()
    retention: Retention = Retention()
    redaction: Redaction = Redaction()

    @property
    def guards_input(self) -> bool:
        return any(guardrail.stage == "input" for guardrail in self.guardrails)

    @model_validator(mode="after")
    def _guardrails_have_names_of_their_own(self) -> Self:
        names = [guardrail.name for guardrail in self.guardrails]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two guardrails have the name {name}")
        return self

    @model_validator(mode="after")
    def _tools_have_names_of_their_own(self) -> Self:
        names = [tool.called if isinstance(tool, BuiltinTool) else tool.name for tool in self.tools]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two tools have the name {name}")
        return self


class Passage(Schema):
    """A piece of a source. `heading` is the path of headings above it; `page` counts from 1.

    `id` is None for passages that were stored without one: `name` derives it from the content.
    """

    id: str | None = None
    source_id: str
    title: str
    text: str
    heading: str | None = None
    url: str | None = None
    page: int | None = None

    @property
    def name(self) -> str:
        """The passage's id. The same content of the same source has the same one in every version."""
        if self.id is not None:
            return self.id
        content = "\0".join((self.source_id, self.title, self.heading or "", str(self.page or ""), self.text))
        return "psg_" + hashlib.sha256(content.encode()).hexdigest()[:26]


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
