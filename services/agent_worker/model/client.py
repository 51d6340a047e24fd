"""Calls of models. It owns their retries: nobody above or below repeats a model call."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

from services.agent_worker.metrics import MODEL_CALL_SECONDS, MODEL_CALLS, MODEL_FAULTS, MODEL_QUIRKS
from services.agent_worker.model.answer import Answer
from services.agent_worker.model.call import ModelCall, Sink
from services.agent_worker.model.connection import UpstreamConnection
from services.agent_worker.model.faults import FaultKind, ModelFault, facts_of
from services.agent_worker.model.quirks import Quirk
from services.agent_worker.model.trace import call_span, tell_answer, tell_fault
from services.agent_worker.settings import PromptMode, Timeouts, Upstream
from shared.backoff import backoff
from shared.contracts.agents import ModelChoice
from shared.log import get_logger

log = get_logger()

BACKOFF_S: Final = 0.25
LAST_BACKOFF_S: Final = 8.0
MAX_RETRY_AFTER_S: Final = 5.0

Messages = list[dict[str, Any]]


class ModelRequest:
    """What one model call asks.

    `arrange` makes its messages valid for a prompt mode; `shrink` makes them fewer, or returns None. Each answer that a
    model began is kept, because upstreams charge for those too that are not used.
    """

    def __init__(
        self,
        members: dict[str, Any],
        *,
        arrange: Callable[[Messages, PromptMode], Messages] | None = None,
        shrink: Callable[[], dict[str, Any] | None] | None = None,
    ) -> None:
        self._members = members
        self._arrange = arrange
        self._shrink = shrink
        self.begun: list[tuple[ModelChoice, Answer]] = []

    def members(self, mode: PromptMode) -> dict[str, Any]:
        if self._arrange is None:
            return self._members
        return self._members | {"messages": self._arrange(self._members["messages"], mode)}

    def shrunk(self) -> bool:
        """Whether the request has become shorter. It does so once."""
        shrink, self._shrink = self._shrink, None
        members = shrink() if shrink is not None else None
        if members is None:
            return False
        self._members = members
        return True


class Models:
    """The upstreams that workers may call. Cancelling a call closes its connection, which stops the model."""

    def __init__(
        self, upstreams: Mapping[str, Upstream], timeouts: Timeouts, *, tries: int = 3, connections: int = 256
    ) -> None:
        self._tries = tries
        self._connections = {
            name: UpstreamConnection(name, upstream, timeouts, connections) for name, upstream in upstreams.items()
        }

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._connections.values():
            await connection.close()

    async def answer(
        self, choices: Sequence[ModelChoice], request: ModelRequest, *, room: int, id_stem: str, sink: Sink
    ) -> Answer:
        """One model call, by the first of `choices` that does it. Raises ModelFault.

        Until text was shown, a fault or an empty answer costs a retry, then the next model, and nobody sees it. If
        nothing but empty answers came, the last of them is returned. `room`: where the answer is cut off.
        """
        fault = ModelFault("no model is configured", retryable=False, kind=FaultKind.CONFIGURATION)
        empty: Answer | None = None
        for choice in choices:
            pauses = backoff(BACKOFF_S, LAST_BACKOFF_S)
            for attempt in range(self._tries):
                try:
                    answer = await self._try(choice, request, room, id_stem, sink)
                except ModelFault as caught:
                    fault = caught
                    if fault.after_text:
                        raise
                    if not fault.retryable or fault.retry_after_s > MAX_RETRY_AFTER_S:
                        break
                    wait_s = fault.retry_after_s
                else:
                    if not answer.is_empty or answer.text:
                        return answer
                    empty, wait_s = answer, 0.0
                if attempt + 1 < self._tries:
                    await asyncio.sleep(max(wait_s, next(pauses)))
        if empty is not None:
            return empty
        raise fault

    async def _try(self, choice: ModelChoice, request: ModelRequest, room: int, id_stem: str, sink: Sink) -> Answer:
        """One try, and a second one if the prompt was longer than the model's context and could be shortened."""
        try:
            return await self._ask(choice, request, room, id_stem, sink)
        except ModelFault as fault:
            if fault.kind is not FaultKind.CONTEXT_LENGTH or fault.after_text or not request.shrunk():
                raise
        MODEL_QUIRKS.labels(choice.upstream, Quirk.SHRUNK).inc()
        return await self._ask(choice, request, room, id_stem, sink)

    async def _ask(self, choice: ModelChoice, request: ModelRequest, room: int, id_stem: str, sink: Sink) -> Answer:
        connection = self._connections.get(choice.upstream)
        if connection is None:
            log.warning("model_upstream_unknown", upstream=choice.upstream)
            MODEL_FAULTS.labels("unknown", FaultKind.CONFIGURATION, "none").inc()
            raise ModelFault("the upstream is not configured", retryable=False, kind=FaultKind.CONFIGURATION)
        answer = Answer(id_stem, upstream=choice.upstream, think_tags=connection.options.think_tags)
        call = ModelCall(connection, choice.name, answer, room, sink)
        request.begun.append((choice, answer))
        with call_span(choice, connection.provider) as span:
            try:
                with MODEL_CALL_SECONDS.labels(choice.upstream).time():
                    await call.run(request.members(connection.options.prompt_mode))
            except ModelFault as fault:
                _note_fault(choice, fault)
                tell_fault(span, fault)
                raise
            tell_answer(span, answer)
        MODEL_CALLS.labels(choice.upstream, "ok").inc()
        if answer.is_empty:
            answer.quirks.add(Quirk.EMPTY_ANSWER)
        _note_quirks(choice, answer)
        return answer


def _note_fault(choice: ModelChoice, fault: ModelFault) -> None:
    MODEL_CALLS.labels(choice.upstream, "fault").inc()
    MODEL_FAULTS.labels(choice.upstream, fault.kind, str(fault.error.status or "none")).inc()
    log.warning("model_fault", upstream=choice.upstream, model=choice.name, **facts_of(fault))


def _note_quirks(choice: ModelChoice, answer: Answer) -> None:
    for quirk in answer.quirks:
        MODEL_QUIRKS.labels(choice.upstream, quirk).inc()
    if Quirk.UNKNOWN_REASON in answer.quirks:
        log.warning("model_finish_reason_unknown", upstream=choice.upstream, model=choice.name)
