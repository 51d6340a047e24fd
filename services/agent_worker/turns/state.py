"""Pure: one attempt at a turn. What has happened so far, and what comes next: call the model, run tools, finish or fail."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from services.agent_worker.model.answer import Answer
from services.agent_worker.tools.result import ToolResult
from services.agent_worker.turns import prompt
from services.agent_worker.turns.conversation import NO_RESULT, PromptMode, prompt_tokens, shrunk
from services.agent_worker.turns.steps import CallModel, Fail, Finish, RunTools, Step
from shared.contracts.agents import AgentConfig
from shared.contracts.errors import ApiError, Code
from shared.contracts.sessions import Retrieval, ToolCall, TurnMessage
from shared.contracts.turns import ClaimedTurn, Usage
from shared.tokens import estimated_tokens

# What one turn may put into its transcript. A document in MongoDB holds 16 MiB, and UTF-8 takes up to three bytes a character.
MAX_OUTPUT: Final = 1 << 20
MAX_RESULTS: Final = 2 << 20
MAX_TOOL_CALLS: Final = 128


class TurnState:
    """`next` says what to do; `answered`, `ran` and `stopped` tell it what came of that. `output` is the transcript's part.

    Callers' tools stand beside the agent's and hide an agent's tool of the same name. An answer that calls any of them ends
    the turn with just those calls: the caller can only be asked once its results are all that is missing. `tool_choice` is
    the caller's word about its own tools: `none` leaves them out, `required` and a named one hold until they are called.
    """

    def __init__(
        self,
        agent: AgentConfig,
        claimed: ClaimedTurn,
        retrieval: Retrieval | None,
        prompt_mode: PromptMode = "strict",
        *,
        tools: Sequence[dict[str, Any]] = (),
    ) -> None:
        self.output: list[TurnMessage] = []
        self.usage = Usage()
        self._agent = agent
        self._retrieval = retrieval
        self._prompt_mode = prompt_mode
        self._messages = prompt.messages_of(agent, claimed.context, claimed.input, retrieval)
        self._parameters = prompt.parameters_of(agent, claimed.completion)
        self._read_tools(tools, claimed)
        self._calls_made = 0
        self._tools_run = 0
        self._room = MAX_OUTPUT
        self._results_room = MAX_RESULTS
        self._pending: tuple[ToolCall, ...] = ()
        self._end: Finish | Fail | None = None
        self._shown: list[str] = []
        self._asking = False

    def _read_tools(self, tools: Sequence[dict[str, Any]], claimed: ClaimedTurn) -> None:
        completion = claimed.completion
        choice = completion.tool_choice if completion is not None else None
        offered = [tool.function for tool in completion.tools] if completion is not None and choice != "none" else []
        self._caller_names = {str(function.get("name")) for function in offered}
        self._caller_tools = [{"type": "function", "function": function} for function in offered]
        self._own_tools = [tool for tool in tools if tool["function"]["name"] not in self._caller_names]
        named = choice.get("function") if isinstance(choice, dict) else None
        insists = bool(offered) and (
            choice == "required" or (isinstance(named, dict) and named.get("name") in self._caller_names)
        )
        self._insisted_choice = choice if insists else None

    # --- what next

    def next(self) -> Step:
        if self._end is not None:
            return self._end
        if self._pending:
            return RunTools(self._pending)
        return CallModel(self._members(), list(self._messages), self._room, self._prompt_mode)

    @property
    def _is_last_call(self) -> bool:
        """After `max_model_calls` the model gets one more, without tools, to say what it has."""
        return self._calls_made >= self._agent.limits.max_model_calls or self._tools_run >= MAX_TOOL_CALLS

    def _members(self) -> dict[str, Any]:
        request: dict[str, Any] = dict(self._parameters)
        tools = self._own_tools + self._caller_tools
        choice: Any = None
        if self._is_last_call:
            choice = "none"
        if self._insisted_choice is not None:
            choice = self._insisted_choice
            tools = self._caller_tools if self._is_last_call else tools
        if not tools:
            # OpenAI refuses these beside an empty list of tools.
            request.pop("parallel_tool_calls", None)
            return request
        request["tools"] = tools
        if choice is not None:
            request["tool_choice"] = choice
        return request

    def shrink(self) -> dict[str, Any] | None:
        """The request without its oldest turns, for a model that said it is too long; None when there is none to drop."""
        messages = shrunk(self._messages)
        if messages is None:
            return None
        self._messages = messages
        return {**self._members(), "messages": list(messages)}

    # --- what happened

    def asked(self) -> None:
        """A model call is under way."""
        self._asking = True

    def shown(self, text: str) -> None:
        """Text of the running model call that has gone out to the client."""
        self._shown.append(text)

    def answered(self, answer: Answer, message_id: str, now: datetime) -> None:
        """The model call is over."""
        self._count(answer.usage, "".join(answer.text), [call.arguments for call in answer.tool_calls])
        was_last = self._is_last_call
        self._calls_made += 1
        self._asking = False
        self._shown.clear()
        self._room -= answer.size
        text, calls = "".join(answer.text), answer.tool_calls
        callers = tuple(call for call in calls if call.name in self._caller_names)
        if len(calls) > MAX_TOOL_CALLS:
            self._say(message_id, now, text)
            self._end = Fail(ApiError(Code.TURN_FAILED, f"The model made {len(calls)} tool calls in one answer."))
            return
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
        first = not any(message.role == "assistant" for message in self.output)
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
                knowledge=(self._retrieval,) if first and self._retrieval is not None else None,
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
                    created_at=now,
                )
            )

    def failed(self, error: ApiError) -> None:
        # A model that never said anything has charged nothing.
        self._asking = self._asking and bool(self._shown)
        self._end = Fail(error)

    def stopped(self, new_message_id: Sequence[str], now: datetime) -> None:
        """The attempt ends early: what was shown becomes a partial message, and calls without a result get one that says so.

        `new_message_id` holds as many ids as may be needed: see `ids_to_stop`.
        """
        ids = iter(new_message_id)
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
        """Adds a model call's tokens; estimates them where the model does not tell."""
        if reported is None:
            sent = sum(map(prompt_tokens, self._messages))
            said = sum(map(estimated_tokens, (text, *arguments)))
            reported = Usage(prompt_tokens=sent, completion_tokens=said, total_tokens=sent + said, estimated=True)
        self.usage = _sum(self.usage, reported)


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(
        prompt_tokens=one.prompt_tokens + other.prompt_tokens,
        completion_tokens=one.completion_tokens + other.completion_tokens,
        total_tokens=one.total_tokens + other.total_tokens,
        cached_tokens=_sum_known(one.cached_tokens, other.cached_tokens),
        reasoning_tokens=_sum_known(one.reasoning_tokens, other.reasoning_tokens),
        estimated=one.estimated or other.estimated,
    )


def _sum_known(one: int | None, other: int | None) -> int | None:
    return None if one is None and other is None else (one or 0) + (other or 0)
