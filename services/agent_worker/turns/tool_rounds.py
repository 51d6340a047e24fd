"""The tool calls of one attempt: run side by side, each reported in the run log, none repeated that must not be."""

import asyncio
from collections.abc import Sequence
from typing import Final

from services.agent_worker.tools.arguments import CallKeys
from services.agent_worker.tools.result import ToolResult
from services.agent_worker.tools.turn_tools import TurnTools
from shared.contracts.sessions import ToolCall
from shared.run_log.writer import TurnWriter
from shared.tasks import end_tasks

PARALLEL_TOOLS: Final = 16


class AlreadyStarted(Exception):
    """A call that must not run twice may have run in an earlier attempt. `name` is the tool's."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class ToolRounds:
    """`started_calls`: the keys of never-retry calls that earlier attempts started."""

    def __init__(self, turn_id: str, tools: TurnTools, started_calls: Sequence[str], writer: TurnWriter) -> None:
        self._tools = tools
        self._keys = CallKeys(turn_id)
        self._started_calls = started_calls
        self._writer = writer
        self._slots = asyncio.Semaphore(PARALLEL_TOOLS)

    async def run(self, calls: Sequence[ToolCall]) -> list[ToolResult]:
        """The results in the order of the calls, in which they are also reported.

        Raises AlreadyStarted before any call.
        """
        keyed = [(call, self._keys.next(call)) for call in calls]
        for call, key in keyed:
            if self._tools.is_never_retried(call.name) and key in self._started_calls:
                raise AlreadyStarted(call.name)
        for call in calls:
            self._writer.frame("tool_call", {"toolCallId": call.id, "name": call.name, "arguments": call.arguments})
        tasks = [asyncio.create_task(self._run_one(call, key)) for call, key in keyed]
        try:
            return [self._reported(await task) for task in tasks]
        finally:
            await end_tasks(tasks)

    async def _run_one(self, call: ToolCall, key: str) -> ToolResult:
        async with self._slots:
            return await self._tools.run(call, key)

    def _reported(self, result: ToolResult) -> ToolResult:
        head = {"toolCallId": result.call.id, "name": result.call.name, "status": "ok" if result.ok else "error"}
        self._writer.frame("tool_result", head | {"result": result.text, "durationMs": result.duration_ms})
        return result
