"""One attempt at a turn: does what `turn.py` decides, and tells the run log of it."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar

from services.agent_worker.knowledge.retriever import MAX_QUERY, Retriever, VersionKey
from services.agent_worker.metrics import FIRST_TEXT_SECONDS
from services.agent_worker.model.call import Sink
from services.agent_worker.model.client import ModelRequest, Models
from services.agent_worker.model.faults import ModelFault
from services.agent_worker.tools.arguments import CallKeys
from services.agent_worker.tools.builtin import Search
from services.agent_worker.tools.kit import ToolKit
from services.agent_worker.tools.result import ToolResult
from services.agent_worker.tools.turn_tools import TurnScope, TurnTools
from services.agent_worker.turns.agent_versions import AgentCache, KnownAgent
from services.agent_worker.turns.conversation import valid
from services.agent_worker.turns.state import TurnState
from services.agent_worker.turns.steps import CallModel, Fail, Finish, RunTools
from shared.contracts.errors import ApiError, Code
from shared.contracts.jobs import RunTurn
from shared.contracts.sessions import Retrieval, ToolCall
from shared.contracts.turns import ClaimedTurn
from shared.history_client import HistoryClient
from shared.ids import new_id
from shared.log import get_logger
from shared.metrics import FENCED_WRITES
from shared.run_log.writer import Fenced, LogWriter, TurnWriter
from shared.tasks import end_tasks

log = get_logger()
T = TypeVar("T")

PARALLEL_TOOLS: Final = 16
PATIENCE_S: Final = 2.0
DEFAULT_TOP_K: Final = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Dependencies:
    """What running turns takes; one of each per process."""

    history: HistoryClient
    models: Models
    tools: ToolKit
    retriever: Retriever
    logs: LogWriter
    agents: AgentCache


class Attempt:
    """`run` goes on to the end of the turn, unless it is cancelled; `state` then holds what there is by that time.

    Until `begin` it only looks for knowledge and asks the model, whose answer waits.
    """

    def __init__(
        self, dependencies: Dependencies, job: RunTurn, claimed: ClaimedTurn, agent: KnownAgent, writer: TurnWriter
    ) -> None:
        self.first_text_s: float | None = None
        self.waited_ms = 0
        self._dependencies = dependencies
        self._job = job
        self._claimed = claimed
        self._agent = agent
        self._writer = writer
        self._keys = CallKeys(job.turn_id)
        self._slots = asyncio.Semaphore(PARALLEL_TOOLS)
        self._started_at = asyncio.get_running_loop().time()
        self._started = asyncio.Event()
        scope = TurnScope(
            workspace=job.workspace,
            in_session=claimed.session_id is not None,
            record=self._record,
            search=self._searching(),
        )
        self.tools = TurnTools(dependencies.tools, agent.toolbox, scope)
        self.state = self._new_state(None)

    def _new_state(self, retrieval: Retrieval | None) -> TurnState:
        return TurnState(self._agent.version.config, self._claimed, retrieval, tools=self.tools.definitions())

    def start(self, waited_ms: int) -> None:
        """The attempt counts: from now on it may tell of itself, first that it has begun. A client that saw an earlier attempt drops
        what that one told.
        """
        self.waited_ms = waited_ms
        claimed = self._claimed
        if claimed.attempt > 1:
            self._writer.frame("restarted", {"attempt": claimed.attempt, "reason": "worker_lost"})
        version = self._agent.version
        told = {"turnId": self._job.turn_id, "agentId": version.agent_id, "agentVersion": version.number}
        self._writer.frame("started", told | {"attempt": claimed.attempt, "waitMs": waited_ms})
        self._started.set()

    async def run(self) -> Finish | Fail:
        """Raises Fenced when another attempt owns the turn."""
        retrieval = await self._retrieve()
        await self.tools.prepare()
        if retrieval is not None or self._agent.toolbox.mcp:
            self.state = self._new_state(retrieval)
        while True:
            step = self.state.next()
            match step:
                case CallModel():
                    await self._call_model(step)
                case RunTools():
                    await self._run_tools(step.calls)
                case _:
                    return step

    # --- knowledge

    async def _retrieve(self) -> Retrieval | None:
        """The passages for the user's last message; None when the agent has no knowledge."""
        version = self._agent.version
        top_k = version.config.knowledge.top_k
        question = next((message.content for message in reversed(self._claimed.input) if message.role == "user"), None)
        if not (version.passage_count and top_k and question):
            return None
        return await self._search(question, top_k)

    def _searching(self) -> Search | None:
        """The model's own way to the agent's knowledge; None where there is nothing to find."""
        version = self._agent.version
        top_k = version.config.knowledge.top_k or DEFAULT_TOP_K
        return (lambda query: self._search(query, top_k)) if version.passage_count else None

    async def _search(self, query: str, top_k: int) -> Retrieval:
        version, query = self._agent.version, query[:MAX_QUERY]
        key = VersionKey(self._job.workspace, version.agent_id, version.number)
        # Without its knowledge the agent would make something up: rather wait for history, within the turn's deadline.
        passages = await patiently(lambda: self._dependencies.retriever.search(key, query, top_k))
        retrieval = Retrieval(query=query, passages=tuple(passages))
        await self._started.wait()
        self._writer.frame("kb_retrieval", retrieval.wire())
        return retrieval

    # --- the model

    async def _call_model(self, step: CallModel) -> None:
        config = self._agent.version.config
        message_id = new_id("msg")
        self.state.asked()
        try:
            answer = await self._dependencies.models.answer(
                (config.model, *config.fallback_models),
                ModelRequest({**step.members, "messages": step.messages}, arrange=valid, shrink=self.state.shrink),
                room=step.room,
                id_stem=message_id.partition("_")[2],
                sink=Sink(show=self._show, backpressure=self._backpressure),
            )
        except ModelFault as fault:
            detail = "The model's answer broke off." if fault.after_text else "The model did not answer."
            self.state.failed(ApiError(fault.code, detail, retryable=fault.retryable))
        else:
            self.state.answered(answer, message_id, datetime.now(UTC))

    async def _backpressure(self) -> None:
        await self._started.wait()
        await self._writer.room()

    def _show(self, text: str) -> None:
        if self.first_text_s is None:
            self.first_text_s = asyncio.get_running_loop().time() - self._started_at
            FIRST_TEXT_SECONDS.observe(self.first_text_s)
        self.state.shown(text)
        self._writer.delta(text)

    # --- tools

    async def _run_tools(self, calls: tuple[ToolCall, ...]) -> None:
        """All at once; told, and answered to the model, in the order of the calls."""
        keys = [self._keys.next(call) for call in calls]
        if started := [call.name for call, key in zip(calls, keys, strict=True) if self._has_started(call, key)]:
            detail = (
                f"The tool {started[0]} may already have run before this turn was interrupted, and must not run twice."
            )
            self.state.failed(ApiError(Code.TURN_FAILED, detail))
            return
        for call in calls:
            self._writer.frame("tool_call", {"toolCallId": call.id, "name": call.name, "arguments": call.arguments})
        tasks = [asyncio.create_task(self._run_tool(call, key)) for call, key in zip(calls, keys, strict=True)]
        try:
            results = [self._tell(await task) for task in tasks]
        finally:
            await end_tasks(tasks)
        self.state.ran(results, [new_id("msg") for _ in results], datetime.now(UTC))

    def _has_started(self, call: ToolCall, key: str) -> bool:
        return self.tools.is_never_retried(call.name) and key in self._claimed.started_calls

    async def _run_tool(self, call: ToolCall, key: str) -> ToolResult:
        async with self._slots:
            return await self.tools.run(call, key)

    async def _record(self, key: str) -> None:
        """Recorded before it is made: an attempt after this one will know. Without the record there is no call."""
        job, attempt = self._job, self._claimed.attempt
        if not await patiently(lambda: self._dependencies.history.start_call(job.workspace, job.turn_id, attempt, key)):
            FENCED_WRITES.labels("begin_call").inc()
            raise Fenced

    def _tell(self, result: ToolResult) -> ToolResult:
        told = {"toolCallId": result.call.id, "name": result.call.name, "status": "ok" if result.ok else "error"}
        self._writer.frame("tool_result", told | {"result": result.text, "durationMs": result.duration_ms})
        return result


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Repeats a call to history until it answers; the turn's deadline cancels the wait."""
    pause_s = 0.2
    while True:
        try:
            return await call()
        except ApiError as error:
            if error.code is not Code.DEPENDENCY_UNAVAILABLE:
                raise
            log.warning("history_unreachable")
        await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))
        pause_s = min(PATIENCE_S, pause_s * 2)
