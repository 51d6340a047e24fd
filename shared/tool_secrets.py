"""The secrets in an agent's configuration: sealed when it is stored, hidden when it is shown."""

from collections.abc import Callable
from typing import Any

from shared.contracts.agents import AgentConfig
from shared.contracts.endpoints import Secret
from shared.contracts.guardrails import Guardrail, HttpGuardrail, PatternsGuardrail
from shared.contracts.tools import HttpTool, McpTool, Tool
from shared.secrets import SecretBox, SecretsUnavailable

# Whose secret it is ("the tool lookup"), the secret's name, and the secret.
Change = Callable[[str, str, Secret], Secret]
Holder = Tool | Guardrail


def sealed_config(
    config: AgentConfig, box: SecretBox, workspace: str, stored: AgentConfig | None = None
) -> AgentConfig:
    """The configuration as it is stored. Raises SecretsUnavailable, whose text names the tool or guardrail and what to
    change.

    A value that is stored already keeps its sealed form, so that the same configuration stays the same bytes. A
    secret that brings no value means the stored one; a sealed form is accepted only if it is the stored one.
    """
    known = {} if stored is None else {_title(holder): secrets_of(holder) for holder in _holders(stored)}

    def seal(holder: str, name: str, secret: Secret) -> Secret:
        old = known.get(holder, {}).get(name)
        if secret.value is None:
            if old is None or secret.sealed not in (None, old.sealed):
                raise SecretsUnavailable(f"{holder} needs the value of its secret {name}")
            return old
        if old is not None and _holds(box, workspace, old, secret.value):
            return old
        return Secret(sealed=box.seal(workspace, secret.value))

    return _changed(config, seal)


def shown_config(config: AgentConfig) -> AgentConfig:
    """The configuration as anyone may see it: secrets are empty objects."""
    return _changed(config, lambda *_: Secret())


def has_secrets(config: AgentConfig) -> bool:
    return any(secrets_of(holder) for holder in _holders(config))


def secrets_of(holder: Holder) -> dict[str, Secret]:
    """By name: a secret header under the header's name in lower case, the signing secret as `signingSecret`."""
    secrets: dict[str, Secret] = {}
    if isinstance(holder, HttpTool | McpTool | HttpGuardrail):
        secrets = {name.lower(): secret for name, secret in holder.secret_headers.items()}
    if isinstance(holder, HttpTool | HttpGuardrail) and holder.signing_secret is not None:
        secrets["signingSecret"] = holder.signing_secret
    return secrets


def _holders(config: AgentConfig) -> tuple[Holder, ...]:
    return (*config.tools, *config.guardrails)


def _title(holder: Holder) -> str:
    return f"the {'guardrail' if isinstance(holder, PatternsGuardrail | HttpGuardrail) else 'tool'} {holder.name}"


def _changed(config: AgentConfig, change: Change) -> AgentConfig:
    if not has_secrets(config):
        return config
    tools = tuple(_changed_holder(tool, change) for tool in config.tools)
    guardrails = tuple(_changed_holder(guardrail, change) for guardrail in config.guardrails)
    return config.model_copy(update={"tools": tools, "guardrails": guardrails})


def _changed_holder(holder: Any, change: Change) -> Any:
    if not isinstance(holder, HttpTool | McpTool | HttpGuardrail):
        return holder
    whose = _title(holder)
    headers = {name: change(whose, name.lower(), secret) for name, secret in holder.secret_headers.items()}
    update: dict[str, Any] = {"secret_headers": headers}
    if not isinstance(holder, McpTool) and holder.signing_secret is not None:
        update["signing_secret"] = change(whose, "signingSecret", holder.signing_secret)
    return holder.model_copy(update=update)


def _holds(box: SecretBox, workspace: str, stored: Secret, value: str) -> bool:
    try:
        return box.open(workspace, stored) == value
    except SecretsUnavailable:
        return False
