"""The tools of one agent version that never change: names, definitions for the model, compiled argument checks."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from services.agent_worker.tools import builtin
from services.agent_worker.tools.arguments import BadArguments, checker
from shared.contracts.agents import AgentConfig
from shared.contracts.sessions import ToolCall
from shared.contracts.tools import BuiltinTool, HttpTool, McpTool
from shared.json_schema import problem_of

_UNUSABLE: Final = "The tool's schema is not usable."


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One function that the model may call. `remote` is the name of an MCP server's tool on that server."""

    name: str
    tool: HttpTool | McpTool | BuiltinTool
    definition: dict[str, Any]
    arguments: Callable[[ToolCall], dict[str, Any]]
    remote: str = ""

    @property
    def is_never_retried(self) -> bool:
        return not isinstance(self.tool, BuiltinTool) and self.tool.retry == "never"


class Toolbox:
    """Built once per agent version: compiling schemas costs milliseconds.

    An invalid schema makes its tool unusable and leaves the agent's other tools as they are.
    """

    def __init__(self, agent: AgentConfig) -> None:
        self.mcp = tuple(tool for tool in agent.tools if isinstance(tool, McpTool))
        fixed = (tool for tool in agent.tools if not isinstance(tool, McpTool))
        self.entries = {entry.name: entry for entry in map(_fixed_entry, fixed)}

    def definitions(self, *, in_session: bool) -> list[dict[str, Any]]:
        return definitions_of(self.entries.values(), in_session=in_session)


def definitions_of(entries: Iterable[Entry], *, in_session: bool) -> list[dict[str, Any]]:
    """What is offered to the model. Without a session, tools that change one are left out."""
    return [entry.definition for entry in entries if in_session or not builtin.needs_session(entry.tool)]


def _fixed_entry(tool: HttpTool | BuiltinTool) -> Entry:
    if isinstance(tool, BuiltinTool):
        return entry_of(tool, tool.called, builtin.description_of(tool), builtin.parameters_of(tool))
    return entry_of(tool, tool.name, tool.description, tool.parameters)


def entry_of(
    tool: HttpTool | McpTool | BuiltinTool, name: str, description: str, parameters: dict[str, Any], remote: str = ""
) -> Entry:
    function = {"name": name, "description": description, "parameters": parameters}
    return Entry(
        name=name,
        tool=tool,
        definition={"type": "function", "function": function},
        arguments=_unusable if problem_of(parameters) is not None else checker(parameters),
        remote=remote,
    )


def _unusable(_: ToolCall) -> dict[str, Any]:
    raise BadArguments(_UNUSABLE)
