"""`agent.yaml`: an agent as a file that people write and review, and the JSON Schema with which editors complete it."""

from typing import Any, Final, Self

from pydantic import Field, model_validator

from shared.contracts.agents import AgentConfig
from shared.contracts.checks import Check, CheckSuite

SLUG_PATTERN: Final = r"^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
# What history writes into a secret. No file holds it.
_STORED_ONLY: Final = "sealed"


class AgentFile(AgentConfig):
    """The draft's members, and beside them what names the agent in its workspace."""

    slug: str = Field(
        pattern=SLUG_PATTERN,
        description="names the agent in its workspace: 1 to 64 lower-case letters, digits and hyphens",
    )
    checks: tuple[Check, ...] | None = Field(
        default=None, max_length=100, description="tests of the agent; left out: those on the server stay as they are"
    )

    @model_validator(mode="after")
    def _checks_are_a_suite(self) -> Self:
        CheckSuite(checks=self.checks or ())
        return self


def agent_file_schema() -> dict[str, Any]:
    """The JSON Schema of the file. Objects with listed members allow no others, so that an editor marks a typo."""
    schema = AgentFile.model_json_schema(by_alias=True)
    _close(schema)
    for definition in schema.get("$defs", {}).values():
        _close(definition)
    return {"$schema": DIALECT, **schema, "title": "agent.yaml"}


def _close(schema: dict[str, Any]) -> None:
    properties = schema.get("properties")
    if properties is not None:
        properties.pop(_STORED_ONLY, None)
        schema.setdefault("additionalProperties", False)
