"""The tools of one attempt at a turn: what is offered to the model, the calls, their limits and their effects."""

import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from services.agent_worker.metrics import TOOL_CALLS
from services.agent_worker.tools.arguments import BadArguments
from services.agent_worker.tools.builtin import Effects, Search, call_builtin
from services.agent_worker.tools.kit import ToolKit
from services.agent_worker.tools.result import ToolFailure, ToolResult
from services.agent_worker.tools.toolbox import Entry, Toolbox, definitions_of
from shared.contracts.errors import ApiError
from shared.contracts.sessions import ToolCall
from shared.contracts.tools import BuiltinTool, HttpTool
from shared.log import get_logger
from shared.tracing.spans import span

log = get_logger()


@dataclass(frozen=True, kw_only=True, slots=True)
class TurnScope:
    """Whose turn it is.

    `record` writes a never-retry call down before it is made, and raises where the call must not be made. `search`
    looks into the agent's knowledge; None: it has none. `redact` takes people's data out of what others answer.
    """

    workspace: str
    in_session: bool
    record: Callable[[str], Awaitable[None]]
    search: Search | None = None
    redact: Callable[[str], Awaitable[str]] | None = None


class TurnTools:
    """A failed call gives a result for the model. It never ends the turn."""

    def __init__(self, kit: ToolKit, toolbox: Toolbox, scope: TurnScope) -> None:
        self.effects = Effects()
        self._kit = kit
        self._toolbox = toolbox
        self._scope = scope
        self._entries = toolbox.entries
        self._calls: Counter[str] = Counter()

    async def prepare(self) -> None:
        """Asks the agent's MCP servers for their tools, unless the answer is cached.

        Without such servers it returns without waiting.
        """
        if self._toolbox.mcp:
            found = await self._kit.mcp.entries(self._scope.workspace, self._toolbox.mcp)
            # If a server's tool has the name of one of the agent's own tools, the agent's own one is kept.
            self._entries = {entry.name: entry for entry in found} | self._toolbox.entries

    def definitions(self) -> list[dict[str, Any]]:
        return definitions_of(self._entries.values(), in_session=self._scope.in_session)

    def is_never_retried(self, name: str) -> bool:
        entry = self._entries.get(name)
        return entry is not None and entry.is_never_retried

    async def run(self, call: ToolCall, key: str) -> ToolResult:
        """The result, good or bad. Raises what `record` raises."""
        # The model may have made the name up.
        name = call.name if call.name in self._entries else "unknown"
        facts = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name, "gen_ai.tool.call.id": call.id}
        with span(f"execute_tool {name}", attributes=facts) as opened:
            result = await self._run(call, key)
            if not result.ok:
                opened.failed("tool_error")
            return result

    async def _run(self, call: ToolCall, key: str) -> ToolResult:
        started = time.monotonic()
        try:
            entry, arguments = self._checked(call)
        except BadArguments as complaint:
            return self._result(call, started, ok=False, text=str(complaint))
        # Counted before anything is awaited, because parallel calls share the limit.
        self._calls[call.name] += 1
        if entry.is_never_retried:
            await self._scope.record(key)
        try:
            return self._result(
                call, started, ok=True, text=await self._shown(entry, await self._call(entry, arguments, key))
            )
        except ToolFailure as failure:
            return self._result(call, started, ok=False, text=await self._shown(entry, str(failure)))
        except Exception:
            log.exception("tool_crashed", tool=call.name)
            return self._result(call, started, ok=False, text="The tool failed.")

    def _checked(self, call: ToolCall) -> tuple[Entry, dict[str, Any]]:
        """Raises BadArguments."""
        entry = self._entries.get(call.name)
        if entry is None:
            raise BadArguments("There is no such tool.")
        if self._calls[call.name] >= entry.tool.max_calls_per_turn:
            raise BadArguments("This tool cannot be called any more in this turn.")
        return entry, entry.arguments(call)

    async def _shown(self, entry: Entry, text: str) -> str:
        """What the agent's own knowledge says is its author's, and stays as it is."""
        if self._scope.redact is None or isinstance(entry.tool, BuiltinTool):
            return text
        try:
            return await self._scope.redact(text)
        except ApiError:
            return "The tool's answer could not be redacted, so it is left out."

    @staticmethod
    def _result(call: ToolCall, started: float, *, ok: bool, text: str) -> ToolResult:
        TOOL_CALLS.labels("ok" if ok else "error").inc()
        return ToolResult(call=call, ok=ok, text=text, duration_ms=int((time.monotonic() - started) * 1000))

    async def _call(self, entry: Entry, arguments: dict[str, Any], key: str) -> str:
        workspace, tool = self._scope.workspace, entry.tool
        if isinstance(tool, HttpTool):
            return await self._kit.http.call(tool, arguments, key, workspace)
        if isinstance(tool, BuiltinTool):
            return await call_builtin(tool, arguments, self.effects, self._scope.search, lambda: datetime.now(UTC))
        return await self._kit.mcp.call(workspace, entry, arguments)
