"""The secrets in an agent's configuration: sealed when it is stored, hidden when it is shown."""

from collections.abc import Callable
from typing import Any

from shared.contracts.agents import AgentConfig
from shared.contracts.tools import HttpTool, McpTool, Secret, Tool
from shared.secrets import SecretBox, SecretsUnavailable

Change = Callable[[str, str, Secret], Secret]


def sealed_config(
    config: AgentConfig, box: SecretBox, workspace: str, stored: AgentConfig | None = None
) -> AgentConfig:
    """The configuration as it is stored. Raises SecretsUnavailable, whose text names the tool and what to change.

    A value that is stored already keeps its sealed form, so that the same configuration stays the same bytes. A
    secret that brings no value means the stored one; a sealed form is accepted only if it is the stored one.
    """
    known = {} if stored is None else {tool.name: secrets_of(tool) for tool in stored.tools}

    def seal(tool: str, name: str, secret: Secret) -> Secret:
        old = known.get(tool, {}).get(name)
        if secret.value is None:
            if old is None or secret.sealed not in (None, old.sealed):
                raise SecretsUnavailable(f"the tool {tool} needs the value of its secret {name}")
            return old
        if old is not None and _holds(box, workspace, old, secret.value):
            return old
        return Secret(sealed=box.seal(workspace, secret.value))

    return _changed(config, seal)


def shown_config(config: AgentConfig) -> AgentConfig:
    """The configuration as anyone may see it: secrets are empty objects."""
    return _changed(config, lambda *_: Secret())


def secrets_of(tool: Tool) -> dict[str, Secret]:
    """By name: a secret header under the header's name in lower case, the signing secret as `signingSecret`."""
    secrets: dict[str, Secret] = {}
    if isinstance(tool, HttpTool | McpTool):
        secrets = {name.lower(): secret for name, secret in tool.secret_headers.items()}
    if isinstance(tool, HttpTool) and tool.signing_secret is not None:
        secrets["signingSecret"] = tool.signing_secret
    return secrets


def _changed(config: AgentConfig, change: Change) -> AgentConfig:
    if not any(secrets_of(tool) for tool in config.tools):
        return config
    return config.model_copy(update={"tools": tuple(_changed_tool(tool, change) for tool in config.tools)})


def _changed_tool(tool: Tool, change: Change) -> Tool:
    if not isinstance(tool, HttpTool | McpTool):
        return tool
    headers = {name: change(tool.name, name.lower(), secret) for name, secret in tool.secret_headers.items()}
    update: dict[str, Any] = {"secret_headers": headers}
    if isinstance(tool, HttpTool) and tool.signing_secret is not None:
        update["signing_secret"] = change(tool.name, "signingSecret", tool.signing_secret)
    return tool.model_copy(update=update)


def _holds(box: SecretBox, workspace: str, stored: Secret, value: str) -> bool:
    try:
        return box.open(workspace, stored) == value
    except SecretsUnavailable:
        return False
