"""Agents and their frozen versions: what answers, with which model, tools, knowledge and limits."""

from typing import Any, Literal

from pydantic import Field

from shared.contracts.schema import Schema, Time


class ModelChoice(Schema):
    """`upstream` names an entry of the workers' settings; an agent never carries an address or a key of a model."""

    upstream: str = "default"
    name: str


class HttpTool(Schema):
    """A tool that is one HTTP request to a fixed URL: the model fills parameters, never the host.

    GET sends the arguments as the query, other methods as a JSON body. `retry="never"` is recorded before it is called and
    not called again by a later attempt. `parameters` is a JSON schema (2020-12) of an object.
    """

    kind: Literal["http"] = "http"
    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})
    url: str
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    headers: dict[str, str] = Field(default_factory=dict)
    timeout_s: float = Field(default=10.0, gt=0, le=60)
    retry: Literal["safe", "never"] = "safe"


class Knowledge(Schema):
    top_k: int = Field(default=4, ge=0, le=20)


class Limits(Schema):
    max_model_calls: int = Field(default=8, ge=1, le=50)
    max_output_tokens: int | None = Field(default=None, ge=1)
    context_turns: int = Field(default=20, ge=0, le=200)
    context_tokens: int = Field(default=12_000, ge=0)


class AgentConfig(Schema):
    """What a draft holds and publishing freezes. `caller_parameters` are the OpenAI parameters that callers may set (None: all)."""

    name: str = Field(min_length=1, max_length=200)
    instructions: str = Field(default="", max_length=100_000)
    model: ModelChoice
    fallback_models: tuple[ModelChoice, ...] = ()
    parameters: dict[str, Any] = Field(default_factory=dict)
    caller_parameters: tuple[str, ...] | None = None
    tools: tuple[HttpTool, ...] = ()
    knowledge: Knowledge = Knowledge()
    limits: Limits = Limits()


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
    """An immutable version: safe to cache by (workspace, agent, number). Number 0 is the draft and must not be cached."""

    agent_id: str
    number: int
    config: AgentConfig
    passage_count: int = 0
