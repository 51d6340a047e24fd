"""One attempt at a turn: does what `state.py` decides, and writes what happens into the run log."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from services.agent_worker.guardrails.output import CheckedText
from services.agent_worker.guardrails.turn_guard import GuardScope, TurnGuard
from services.agent_worker.guardrails.verdicts import Blocked
from services.agent_worker.metrics import FIRST_TEXT_SECONDS, MARKERS_REMOVED
from services.agent_worker.model.call import Sink
from services.agent_worker.model.client import ModelRequest
from services.agent_worker.model.faults import ModelFault
from services.agent_worker.tools.turn_tools import TurnScope, TurnTools
from services.agent_worker.turns.agent_versions import KnownAgent
from services.agent_worker.turns.conversation import valid
from services.agent_worker.turns.dependencies import Dependencies
from services.agent_worker.turns.history_wait import until_history_answers
from services.agent_worker.turns.knowledge_search import KnowledgeSearch
from services.agent_worker.turns.state import TurnState
from services.agent_worker.turns.steps import CallModel, Fail, Finish, RunTools
from services.agent_worker.turns.tool_rounds import AlreadyStarted, ToolRounds
from shared.citations import MarkerFilter
from shared.contracts.errors import ApiError, Code
from shared.contracts.guardrails import GuardrailAct
from shared.contracts.jobs import RunTurn
from shared.contracts.sessions import Retrieval, ToolCall
from shared.contracts.turns import ClaimedTurn, Usage
from shared.ids import new_id
from shared.metrics import FENCED_WRITES
from shared.redaction import redacted
from shared.run_log.writer import Fenced, TurnWriter


class Attempt:
    """`run` goes on to the end of the turn, unless it is cancelled; `state` then holds what there is by that time.

    Until `start` it only retrieves knowledge and asks the model. Whatever they answer waits.
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
        self._created_at = asyncio.get_running_loop().time()
        self._started = asyncio.Event()
        self._knowledge = KnowledgeSearch(dependencies.retriever, job.workspace, agent.version, writer, self._started)
        self.guard = TurnGuard(dependencies.hooks, agent.version.config.guardrails, self._guard_scope(), self._show_act)
        # Of the running model call, where guardrails look at it.
        self._checked: CheckedText | None = None
        # Where an answer's text goes: to the client at once, unless guardrails check it.
        self._emit: Callable[[str], None] = self._put
        self._usage: Usage | None = None
        self.tools = TurnTools(dependencies.tools, agent.toolbox, self._scope())
        self._rounds = ToolRounds(job.turn_id, self.tools, claimed.started_calls, writer)
        self._markers: MarkerFilter | None = None  # Of the running model call.
        self.state = self._new_state(None)

    def _scope(self) -> TurnScope:
        redaction = self._agent.version.config.redaction
        return TurnScope(
            workspace=self._job.workspace,
            in_session=self._claimed.session_id is not None,
            record=self._record,
            search=self._knowledge.for_query if self._knowledge.has_passages else None,
            redact=None if redaction.is_empty else self._redacted,
        )

    async def _redacted(self, text: str) -> str:
        """Raises ApiError."""
        redaction, hook = self._agent.version.config.redaction, self._dependencies.redaction
        text = redacted(text, redaction)
        if not redaction.hook or not text:
            return text
        return (await hook.redacted(self._job.turn_id, self._agent.version.agent_id, "tool", [text]))[0]

    def _guard_scope(self) -> GuardScope:
        job, claimed, version = self._job, self._claimed, self._agent.version
        facts = {"turnId": job.turn_id, "sessionId": claimed.session_id}
        agent = {"agentId": version.agent_id, "agentVersion": version.number}
        return GuardScope(
            workspace=job.workspace, key=f"{job.turn_id}-{claimed.attempt}", facts=facts | agent, is_check=claimed.check
        )

    def _new_state(self, retrieval: Retrieval | None) -> TurnState:
        return TurnState(
            self._agent.version.config,
            self._claimed,
            retrieval,
            tools=self.tools.definitions(),
            passages=self._knowledge.passages,
        )

    def start(self, waited_ms: int) -> None:
        """History has recorded the attempt: from now on it writes frames.

        `restarted` tells clients to drop an earlier attempt's.
        """
        self.waited_ms = waited_ms
        claimed = self._claimed
        if claimed.attempt > 1:
            self._writer.frame("restarted", {"attempt": claimed.attempt, "reason": "worker_lost"})
        version = self._agent.version
        head = {"turnId": self._job.turn_id, "agentId": version.agent_id, "agentVersion": version.number}
        self._writer.frame("started", head | {"attempt": claimed.attempt, "waitMs": waited_ms})
        self._started.set()

    async def refused(self, error: ApiError) -> Fail:
        """Instead of `run`: no model is asked."""
        return Fail(error)

    async def run(self) -> Finish | Fail:
        """Raises Fenced when another attempt owns the turn."""
        try:
            return await self._steps()
        except Blocked as blocked:
            return await self._blocked(blocked)

    async def _steps(self) -> Finish | Fail:
        if self.guard.has_input:
            self._claimed = self._claimed.model_copy(update={"input": await self.guard.input(self._claimed.input)})
            self.state = self._new_state(None)
        retrieval = await self._knowledge.for_question(self._claimed.input, self._claimed.context)
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

    def stopped(self) -> TurnState:
        """After `run` has ended or was cancelled: what there is becomes whole, and its use is counted."""
        self.state.stopped([new_id("msg") for _ in range(self.state.ids_to_stop)], datetime.now(UTC))
        return self.state

    # --- the model

    async def _call_model(self, step: CallModel) -> None:
        config = self._agent.version.config
        message_id = new_id("msg")
        self.state.asked()
        self._usage = None
        self._markers = MarkerFilter(self._knowledge.passages.__contains__) if self._knowledge.is_cited else None
        if self.guard.has_output:
            self._checked = CheckedText(lambda texts: self.guard.checked("output", texts), self._put)
            self._emit = self._checked.add
        request = ModelRequest({**step.members, "messages": step.messages}, arrange=valid, shrink=self.state.shrink)
        try:
            answer = await self._dependencies.models.answer(
                (config.model, *config.fallback_models),
                request,
                room=step.room,
                id_stem=message_id.partition("_")[2],
                sink=self._sink,
            )
        except ModelFault as fault:
            self.state.charged(request.begun)
            detail = "The model's answer broke off." if fault.after_text else "The model did not answer."
            self.state.failed(ApiError(fault.code, detail, retryable=fault.retryable))
        except (asyncio.CancelledError, Blocked):
            self.state.charged(request.begun)
            raise
        else:
            self._usage = answer.usage
            self.state.charged(request.begun, answer)
            text = await self._filtered_text()
            self.state.answered(answer, message_id, datetime.now(UTC), text)

    async def _filtered_text(self) -> str | None:
        """The model call's text as it was shown, once the rest of it has been. None: it was shown as it came.

        Raises Blocked.
        """
        if self._markers is None and self._checked is None:
            return None
        if self._markers is not None:
            if rest := self._markers.end():
                self._emit(rest)
            if not self._claimed.check:
                MARKERS_REMOVED.inc(self._markers.removed)
        if self._checked is not None:
            await self._checked.end()
        return self.state.shown_text

    async def _blocked(self, blocked: Blocked) -> Finish | Fail:
        """The client reads the guardrail's message after what it has been shown of this model call."""
        await self._started.wait()
        self._put(f"\n\n{blocked.message}" if self.state.shown_text else blocked.message)
        received = self._checked.received if self._checked is not None else ()
        self.state.blocked(new_id("msg"), datetime.now(UTC), received=received, usage=self._usage)
        return Finish("content_filter")

    @property
    def _sink(self) -> Sink:
        # Guardrails check the answer's text only, so an agent that has them shows no reasoning.
        reason = self._show_reasoning if self._claimed.reasoning and self._checked is None else None
        return Sink(show=self._show, backpressure=self._backpressure, reason=reason)

    def _show_reasoning(self, text: str) -> None:
        self._writer.frame("reasoning", {"text": text})

    async def _backpressure(self) -> None:
        await self._started.wait()
        if self._checked is not None:
            await self._checked.drain()
        await self._writer.room()

    def _show(self, text: str) -> None:
        if self._markers is None or (text := self._markers.add(text)):
            self._emit(text)

    def _put(self, text: str) -> None:
        if self.first_text_s is None:
            self.first_text_s = asyncio.get_running_loop().time() - self._created_at
            if not self._claimed.check:
                FIRST_TEXT_SECONDS.observe(self.first_text_s)
        self.state.shown(text)
        self._writer.delta(text)

    async def _show_act(self, act: GuardrailAct) -> None:
        await self._started.wait()
        self._writer.frame("guardrail", act.wire())

    # --- tools

    async def _run_tools(self, calls: tuple[ToolCall, ...]) -> None:
        try:
            results = await self._rounds.run(calls)
        except AlreadyStarted as call:
            detail = (
                f"The tool {call.name} may already have run before this turn was interrupted. It must not run twice."
            )
            self.state.failed(ApiError(Code.TURN_FAILED, detail))
            return
        self.state.ran(results, [new_id("msg") for _ in results], datetime.now(UTC))
        self.state.searched(self._knowledge.made)
        self._knowledge.made.clear()

    async def _record(self, key: str) -> None:
        """Records a never-retry call before it is made, so that a later attempt knows of it.

        Without the record there is no call.
        """
        history, job, attempt = self._dependencies.history, self._job, self._claimed.attempt
        uses = self.state.spent.by_model
        if not await until_history_answers(lambda: history.start_call(job.workspace, job.turn_id, attempt, key, uses)):
            FENCED_WRITES.labels("start_call").inc()
            raise Fenced
