"""Pure: one attempt at a turn.

What has happened so far, and what comes next: call the model, run tools, finish or fail.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from services.agent_worker.model.answer import Answer
from services.agent_worker.tools.result import ToolResult
from services.agent_worker.turns import prompt
from services.agent_worker.turns.conversation import shrunk
from services.agent_worker.turns.offered_tools import OfferedTools
from services.agent_worker.turns.paired_calls import NO_RESULT
from services.agent_worker.turns.steps import CallModel, Fail, Finish, RunTools, Step
from services.agent_worker.turns.usage import TurnUsage, estimated_usage
from shared.citations import NumberedPassages, citations_of
from shared.contracts.agents import AgentConfig, ModelChoice
from shared.contracts.errors import ApiError, Code
from shared.contracts.sessions import Retrieval, ToolCall, TurnMessage
from shared.contracts.turns import ClaimedTurn, Usage

# What one turn may put into its transcript, in characters. A document in MongoDB holds 16 MiB, and UTF-8 takes up to
# three bytes a character here.
MAX_OUTPUT: Final = 1 << 20
MAX_RESULTS: Final = 2 << 20
MAX_TOOL_CALLS: Final = 128


class TurnState:
    """`next` says what to do; `answered`, `ran` and `stopped` take what came of it. `output` is the turn's part of the
    transcript.

    An answer that calls any tool of the caller ends the turn with just those calls: the caller can only be asked when
    its results are all that is missing.
    """

    def __init__(
        self,
        agent: AgentConfig,
        claimed: ClaimedTurn,
        retrieval: Retrieval | None,
        *,
        tools: Sequence[dict[str, Any]] = (),
        passages: NumberedPassages | None = None,
    ) -> None:
        self.output: list[TurnMessage] = []
        self.spent = TurnUsage()
        self._asked = agent.model
        self._agent = agent
        self._passages = passages or NumberedPassages()
        self._searches = [retrieval] if retrieval is not None else []  # Those that no message has yet.
        self._messages = prompt.messages_of(agent, claimed, retrieval)
        self._parameters = prompt.parameters_of(agent, claimed.completion)
        self._tools = OfferedTools(tools, claimed.completion)
        self._calls_made = 0
        self._tools_run = 0
        self._room = MAX_OUTPUT
        self._results_room = MAX_RESULTS
        self._pending: tuple[ToolCall, ...] = ()
        self._end: Finish | Fail | None = None
        self._shown: list[str] = []
        self._asking = False

    # --- what next

    def next(self) -> Step:
        if self._end is not None:
            return self._end
        if self._pending:
            return RunTools(self._pending)
        return CallModel(self._members(), list(self._messages), self._room)

    @property
    def _is_last_call(self) -> bool:
        """After `max_model_calls` the model gets one more call without tools, to answer with what it has."""
        return self._calls_made >= self._agent.limits.max_model_calls or self._tools_run >= MAX_TOOL_CALLS

    def _members(self) -> dict[str, Any]:
        request: dict[str, Any] = dict(self._parameters)
        self._tools.add_to(request, is_last_call=self._is_last_call)
        return request

    def shrink(self) -> dict[str, Any] | None:
        """The request without its oldest turns, after a model found it too long. None: there is no turn to drop."""
        messages = shrunk(self._messages)
        if messages is None:
            return None
        self._messages = messages
        return {**self._members(), "messages": list(messages)}

    # --- what happened

    @property
    def usage(self) -> Usage:
        return self.spent.total

    def asked(self) -> None:
        """A model call is under way."""
        self._asking = True

    def charged(self, begun: Sequence[tuple[ModelChoice, Answer]], used: Answer | None = None) -> None:
        """Counts what models have reported for answers that are not used: empty ones, and those that broke off.

        `used` is counted when the turn has it. An answer that broke off without a report is estimated later.
        """
        for choice, answer in begun:
            self._asked = choice
            if answer is not used and answer.usage is not None:
                self.spent.add(choice, answer.usage)
        if used is not None:
            self._asked = next((choice for choice, answer in begun if answer is used), self._asked)
        elif begun and begun[-1][1].usage is not None:
            self._asking = False

    def shown(self, text: str) -> None:
        """Text of the running model call that has gone out to the client."""
        self._shown.append(text)

    @property
    def shown_text(self) -> str:
        return "".join(self._shown)

    def searched(self, retrievals: Sequence[Retrieval]) -> None:
        """Searches that the model has made by a tool. The next message has them."""
        self._searches += retrievals

    def answered(self, answer: Answer, message_id: str, now: datetime, text: str | None = None) -> None:
        """The model call is over. `text`: what was shown of its text, where that is not all of it."""
        whole = "".join(answer.text)
        self._count(answer.usage, whole, [call.arguments for call in answer.tool_calls])
        was_last = self._is_last_call
        self._calls_made += 1
        self._asking = False
        self._shown.clear()
        self._room -= answer.stored_size
        text, calls = whole if text is None else text, answer.tool_calls
        callers = tuple(call for call in calls if call.name in self._tools.callers_names)
        if callers:
            self._say(message_id, now, text, callers, answer)
            self._end = Finish("tool_calls")
        elif calls and not was_last:
            self._say(message_id, now, text, calls, answer)
            self._pending = calls
        elif calls and not text:
            self._end = Fail(ApiError(Code.TURN_FAILED, "The agent came to no answer within its model calls."))
        else:
            self._say(message_id, now, text)
            self._end = Finish("stop" if calls else answer.finish_reason)

    def _say(
        self,
        message_id: str,
        now: datetime,
        text: str,
        calls: tuple[ToolCall, ...] | None = None,
        answer: Answer | None = None,
        *,
        partial: bool = False,
    ) -> None:
        """`answer` has the companions of the calls, which only its upstream gets back."""
        searches, self._searches = tuple(self._searches), []
        self._add(
            TurnMessage(
                id=message_id,
                role="assistant",
                content=text or (None if calls else ""),
                tool_calls=calls,
                companions=answer.companions if answer is not None else None,
                upstream=answer.upstream if answer is not None and answer.has_companions else None,
                # Later prompts leave such a message out, because many servers refuse it.
                empty=None if calls or text.strip() else True,
                knowledge=searches or None,
                citations=citations_of(text, self._passages) or None,
                status="partial" if partial else "complete",
                created_at=now,
            )
        )

    def _add(self, message: TurnMessage) -> None:
        self.output.append(message)
        self._messages.append(prompt.message_of(message))

    def ran(self, results: Sequence[ToolResult], message_ids: Sequence[str], now: datetime) -> None:
        """The pending calls' results, in the order of the calls."""
        self._pending = ()
        self._tools_run += len(results)
        for result, message_id in zip(results, message_ids, strict=True):
            text = (
                result.text
                if len(result.text) <= self._results_room
                else "The result does not fit into this turn any more."
            )
            self._results_room -= len(text)
            self._add(
                TurnMessage(
                    id=message_id,
                    role="tool",
                    content=text,
                    tool_call_id=result.call.id,
                    name=result.call.name,
                    failed=None if result.ok else True,
                    created_at=now,
                )
            )

    def blocked(
        self, message_id: str, now: datetime, *, received: Sequence[str] = (), usage: Usage | None = None
    ) -> None:
        """A guardrail has ended the turn. The message has what was shown: the text up to there, and what replaces the
        rest.

        `received`: what the running model call has said. `usage`: what it cost, where that is known.
        """
        if self._asking:
            self._count(usage, "".join(received), [])
        self._pending = ()
        self._asking = False
        self._say(message_id, now, self.shown_text)
        self._shown.clear()
        self._end = Finish("content_filter")

    def failed(self, error: ApiError) -> None:
        # A model that sent no text has charged nothing.
        self._asking = self._asking and bool(self._shown)
        self._end = Fail(error)

    def stopped(self, new_message_ids: Sequence[str], now: datetime) -> None:
        """The attempt ends early: the shown text becomes a partial message, and a call without a result gets one that
        says so.

        `new_message_ids`: at least `ids_to_stop` of them.
        """
        ids = iter(new_message_ids)
        for call in self._pending:
            text = NO_RESULT
            message = TurnMessage(
                id=next(ids),
                role="tool",
                content=text,
                tool_call_id=call.id,
                name=call.name,
                status="partial",
                created_at=now,
            )
            self._add(message)
        self._pending = ()
        text = "".join(self._shown)
        if self._asking:
            self._count(None, text, [])
        if text:
            self._say(next(ids), now, text, partial=True)
        self._asking = False
        self._shown.clear()

    @property
    def ids_to_stop(self) -> int:
        return len(self._pending) + 1

    def _count(self, reported: Usage | None, text: str, arguments: list[str]) -> None:
        """Adds a model call's tokens, estimated where the upstream reported none."""
        if reported is None:
            reported = estimated_usage(self._messages, [text, *arguments])
        self.spent.add(self._asked, reported)
