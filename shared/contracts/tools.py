"""An agent's tools: HTTP requests, MCP servers, and builtin tools."""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from shared.contracts.endpoints import Endpoint, Secret, checked_signing_secret
from shared.contracts.schema import Schema

NAME: Final = r"^[A-Za-z0-9_-]{1,64}$"
MAX_CALLS: Final = 128
_VARIABLE: Final = re.compile(r"\{([A-Za-z0-9_-]{1,64})\}")
NO_PARAMETERS: Final[dict[str, Any]] = {"type": "object", "properties": {}}


class _Called(Schema):
    """What all tools have.

    `retry="never"`: a call is recorded before it is made, and no later attempt makes it again.
    """

    max_calls_per_turn: int = Field(default=MAX_CALLS, ge=1, le=MAX_CALLS)


class _Remote(Endpoint, _Called):
    """What tools on other servers have."""

    timeout_s: float = Field(default=10.0, gt=0, le=60)
    retry: Literal["safe", "never"] = "safe"


class HttpTool(_Remote):
    """A tool that is one HTTP request.

    `{name}` in the URL's path or query is filled with the parameter of that name. The other parameters go as the
    query for GET, and else as a JSON body; those listed in `query` always go as the query. `parameters` is a JSON
    schema (2020-12) of an object. With `signing_secret` the request is signed as Standard Webhooks says.
    `response_limit` is in bytes.
    """

    kind: Literal["http"] = "http"
    name: str = Field(pattern=NAME)
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=lambda: dict(NO_PARAMETERS))
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    query: tuple[str, ...] = ()
    signing_secret: Secret | None = None
    response_limit: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _signing_secret_is_one(self) -> Self:
        checked_signing_secret(self.signing_secret)
        return self

    @model_validator(mode="after")
    def _variables_are_parameters(self) -> Self:
        known, required = self.parameters.get("properties"), self.parameters.get("required")
        for name in variables_of(self.url):
            if not isinstance(known, dict) or name not in known:
                raise ValueError(f"url uses {{{name}}}, which is not one of the tool's parameters")
            if not isinstance(required, list) or name not in required:
                raise ValueError(f"url uses {{{name}}}, so this parameter must be required")
        return self


class McpTool(_Remote):
    """Tools of a server that speaks the Model Context Protocol over streamable HTTP.

    Only the tools in `allow` are offered to the model, as `<name>_<tool>`, under the limits given here.
    """

    kind: Literal["mcp"]
    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,32}$", description="the model sees its tools as <name>_<tool>")
    allow: tuple[str, ...] = Field(min_length=1, max_length=64)

    @model_validator(mode="after")
    def _has_no_variables(self) -> Self:
        if "{" in self.url or "}" in self.url:
            raise ValueError("the url of an MCP server has no variables")
        return self


class BuiltinTool(_Called):
    """A tool that Parley implements itself.

    `collect` fills the form whose JSON schema is `parameters`; the session keeps what was filled in.
    """

    kind: Literal["builtin"]
    builtin: Literal["search_knowledge", "current_time", "end_session", "collect"]
    name: str = Field(default="", pattern=r"^[A-Za-z0-9_-]{0,64}$", description="empty: as `builtin` says")
    description: str = Field(default="", description="empty: a description that fits most agents")
    parameters: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _only_a_form_has_parameters(self) -> Self:
        if (self.builtin == "collect") != (self.parameters is not None):
            raise ValueError("parameters belong to collect, and to no other builtin tool")
        return self

    @property
    def called(self) -> str:
        return self.name or self.builtin


def _kind_of(value: Any) -> str:
    """A tool without a `kind` is an HTTP tool."""
    return str(value.get("kind", "http") if isinstance(value, dict) else getattr(value, "kind", ""))


Tool = Annotated[
    Annotated[HttpTool, Tag("http")] | Annotated[McpTool, Tag("mcp")] | Annotated[BuiltinTool, Tag("builtin")],
    Discriminator(_kind_of),
]


def variables_of(url: str) -> Iterator[str]:
    """The names in braces. Raises ValueError for braces that enclose none."""
    if "{" in _VARIABLE.sub("", url) or "}" in _VARIABLE.sub("", url):
        raise ValueError("url has a brace that belongs to no {variable}")
    return (found[1] for found in _VARIABLE.finditer(url))


def filled(template: str, texts: dict[str, str]) -> str:
    """The template with each variable replaced by its text, unchanged."""
    return _VARIABLE.sub(lambda found: texts[found[1]], template)
