"""Secrets of a draft's tools are sealed before the draft is stored, whoever stores it."""

from shared.contracts.agents import AgentConfig
from shared.contracts.errors import ApiError, Code
from shared.secrets import SecretBox, SecretsUnavailable
from shared.tool_secrets import sealed_config


def with_sealed_secrets(config: AgentConfig, box: SecretBox, workspace: str, stored: AgentConfig | None) -> AgentConfig:
    """The configuration as it is stored. Raises `validation_failed` if a secret has no value or cannot be sealed."""
    try:
        return sealed_config(config, box, workspace, stored)
    except SecretsUnavailable as error:
        field = "guardrails" if str(error).startswith("the guardrail") else "tools"
        raise ApiError(Code.VALIDATION_FAILED, errors=[{"field": field, "message": str(error)}]) from None
