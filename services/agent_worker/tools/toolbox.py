"""An agent version's tools, ready to be called by a model: names, checked arguments, results that are never exceptions."""

import time
from collections.abc import Callable
from typing import Any, Final, Protocol

import jsonschema

from services.agent_worker.metrics import TOOL_CALLS
from services.agent_worker.tools.arguments import BadArguments, checker
from services.agent_worker.tools.http import ToolFailure
from services.agent_worker.turns.steps import ToolResult
from shared.contracts.agents import AgentConfig, HttpTool
from shared.contracts.sessions import ToolCall
from shared.log import get_logger

log = get_logger()

_UNUSABLE: Final = "The tool's schema is not usable."


class CallsTools(Protocol):
    async def call(self, tool: HttpTool, arguments: dict[str, Any], key: str) -> str: ...


class Toolbox:
    """Built once per agent version: compiling schemas costs milliseconds."""

    def __init__(self, agent: AgentConfig) -> None:
        self._tools = {tool.name: tool for tool in agent.tools}
        self._checkers = {tool.name: _checker_of(tool) for tool in agent.tools}

    def is_never_retried(self, name: str) -> bool:
        tool = self._tools.get(name)
        return tool is not None and tool.retry == "never"

    def refusal(self, call: ToolCall) -> str | None:
        """Why a call cannot be made, for the model; None when it can."""
        try:
            self._arguments(call)
        except BadArguments as error:
            return str(error)
        return None

    def _arguments(self, call: ToolCall) -> dict[str, Any]:
        if call.name not in self._tools:
            raise BadArguments("There is no such tool.")
        return self._checkers[call.name](call)

    async def run(self, http: CallsTools, call: ToolCall, key: str) -> ToolResult:
        """The result, good or bad; only cancellation is raised."""
        started = time.monotonic()
        try:
            ok, text = True, await http.call(self._tools[call.name], self._arguments(call), key)
        except (BadArguments, ToolFailure) as failure:
            ok, text = False, str(failure)
        except KeyError:
            ok, text = False, "There is no such tool."
        except Exception:  # A tool's fault is a result for the model and never the turn's end.
            log.exception("tool_crashed", tool=call.name)
            ok, text = False, "The tool failed."
        TOOL_CALLS.labels("ok" if ok else "error").inc()
        return ToolResult(call=call, ok=ok, text=text, duration_ms=int((time.monotonic() - started) * 1000))


def _checker_of(tool: HttpTool) -> Callable[[ToolCall], dict[str, Any]]:
    try:
        jsonschema.Draft202012Validator.check_schema(tool.parameters)
        return checker(tool.parameters)
    except (jsonschema.SchemaError, RecursionError):

        def refuse(_: ToolCall) -> dict[str, Any]:
            raise BadArguments(_UNUSABLE)

        return refuse
