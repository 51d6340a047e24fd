from typing import Any

import pytest

from services.agent_worker.settings import PromptMode
from services.agent_worker.tools.result import ToolResult
from services.agent_worker.tools.toolbox import Toolbox
from services.agent_worker.turns import state as state_module
from services.agent_worker.turns.conversation import NO_ANSWER, valid
from services.agent_worker.turns.state import TurnState
from services.agent_worker.turns.steps import CallModel, Fail, Finish, RunTools
from shared.contracts.agents import AgentConfig, ModelChoice
from shared.contracts.errors import ApiError, Code
from shared.contracts.sessions import Retrieval
from shared.contracts.turns import ClaimedTurn, CompletionRequest

Make = Any
CALLERS = {"tools": [{"function": {"name": "book", "parameters": {}}}]}


def state_of(agent: AgentConfig, claimed: ClaimedTurn, retrieval: Retrieval | None) -> TurnState:
    tools = Toolbox(agent).definitions(in_session=claimed.session_id is not None)
    return TurnState(agent, claimed, retrieval, tools=tools)


def run_tools(state: TurnState, make: Make, text: str = "fine") -> None:
    step = state.next()
    assert isinstance(step, RunTools)
    results = [ToolResult(call=call, ok=True, text=text) for call in step.calls]
    state.ran(results, [f"msg_r{number}" for number in range(len(results))], make.now)


def request_of(state: TurnState, mode: PromptMode = "strict") -> dict[str, Any]:
    step = state.next()
    assert isinstance(step, CallModel)
    return {"messages": valid(step.messages, mode), **step.members}


def test_a_plain_answer_finishes_the_turn(make: Make) -> None:
    state = state_of(make.agent(), make.claimed(), Retrieval(query="q"))
    assert request_of(state) == {
        "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello?"}]
    }
    state.answered(make.answer("Hi.", usage=(10, 2)), "msg_a", make.now)
    assert state.next() == Finish("stop")
    assert [(message.id, message.content, message.status) for message in state.output] == [("msg_a", "Hi.", "complete")]
    assert state.output[0].knowledge == (Retrieval(query="q"),)
    assert state.usage.wire() == {"promptTokens": 10, "completionTokens": 2, "totalTokens": 12}


def test_tools_run_and_their_results_go_back_to_the_model(make: Make) -> None:
    state = state_of(make.agent(tools=[make.tool()]), make.claimed(), None)
    assert request_of(state)["tools"][0]["function"]["name"] == "look_up"
    state.answered(make.answer("Let me see.", {"look_up": '{"n":1}'}, "tool_calls", usage=(10, 2)), "msg_a", make.now)
    run_tools(state, make)
    assert [message["role"] for message in request_of(state)["messages"]] == ["system", "user", "assistant", "tool"]
    state.answered(make.answer("There.", usage=(20, 3)), "msg_b", make.now)
    assert state.next() == Finish("stop")
    assert [message.role for message in state.output] == ["assistant", "tool", "assistant"]
    assert (state.output[1].tool_call_id, state.output[1].content) == ("call_look_up", "fine")
    assert state.usage.wire() == {"promptTokens": 30, "completionTokens": 5, "totalTokens": 35}


def test_the_model_that_never_stops_calling_gets_one_last_call_without_tools(make: Make) -> None:
    state = state_of(make.agent(tools=[make.tool()], limits={"max_model_calls": 2}), make.claimed(), None)
    for _ in range(2):
        assert "tool_choice" not in request_of(state)
        state.answered(make.answer("", {"look_up": "{}"}), "msg_a", make.now)
        run_tools(state, make)
    assert request_of(state)["tool_choice"] == "none"
    state.answered(make.answer("As far as I see.", {"look_up": "{}"}), "msg_b", make.now)
    assert state.next() == Finish("stop")
    assert state.output[-1].tool_calls is None


def test_a_last_call_that_only_calls_tools_fails_the_turn(make: Make) -> None:
    state = state_of(make.agent(tools=[make.tool()], limits={"max_model_calls": 1}), make.claimed(), None)
    state.answered(make.answer("", {"look_up": "{}"}), "msg_a", make.now)
    run_tools(state, make)
    state.answered(make.answer("", {"look_up": "{}"}), "msg_b", make.now)
    step = state.next()
    assert isinstance(step, Fail)
    assert (step.error.code, step.error.retryable) == (Code.TURN_FAILED, False)


def test_the_number_of_tool_calls_is_bounded(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "MAX_TOOL_CALLS", 3)
    state = state_of(make.agent(tools=[make.tool()], limits={"max_model_calls": 50}), make.claimed(), None)
    for _ in range(2):
        state.answered(make.answer("", {"look_up": "{}", "other": "{}"}), "msg_a", make.now)
        run_tools(state, make)
    assert request_of(state)["tool_choice"] == "none"


def test_results_beyond_the_turns_room_are_left_out(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "MAX_RESULTS", 10)
    state = state_of(make.agent(tools=[make.tool()]), make.claimed(), None)
    state.answered(make.answer("", {"look_up": "{}"}), "msg_a", make.now)
    run_tools(state, make, "x" * 11)
    assert state.output[-1].content == "The result does not fit into this turn any more."


def test_a_callers_tool_ends_the_turn_and_the_agents_calls_beside_it_are_dropped(make: Make) -> None:
    claimed = make.claimed(completion=CompletionRequest.model_validate(CALLERS))
    state = state_of(make.agent(tools=[make.tool()]), claimed, None)
    assert [tool["function"]["name"] for tool in request_of(state)["tools"]] == ["look_up", "book"]
    state.answered(make.answer("", {"look_up": "{}", "book": '{"at":9}'}, "tool_calls"), "msg_a", make.now)
    assert state.next() == Finish("tool_calls")
    assert [call.name for call in state.output[0].tool_calls or ()] == ["book"]
    assert state.output[0].content is None


def test_a_callers_tool_hides_the_agents_of_the_same_name(make: Make) -> None:
    claimed = make.claimed(completion=CompletionRequest.model_validate(CALLERS))
    state = state_of(make.agent(tools=[make.tool("book", description="ours")]), claimed, None)
    assert request_of(state)["tools"] == [{"type": "function", "function": {"name": "book", "parameters": {}}}]


def test_tool_choice_none_leaves_out_the_callers_tools_only(make: Make) -> None:
    claimed = make.claimed(completion=CompletionRequest.model_validate(CALLERS | {"toolChoice": "none"}))
    request = request_of(state_of(make.agent(tools=[make.tool()]), claimed, None))
    assert [tool["function"]["name"] for tool in request["tools"]] == ["look_up"]
    assert "tool_choice" not in request
    assert "tools" not in request_of(state_of(make.agent(), claimed, None))


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "book"}}])
def test_a_caller_that_insists_gets_a_call_of_its_own(make: Make, choice: Any) -> None:
    claimed = make.claimed(completion=CompletionRequest.model_validate(CALLERS | {"toolChoice": choice}))
    state = state_of(make.agent(tools=[make.tool()], limits={"max_model_calls": 1}), claimed, None)
    assert request_of(state)["tool_choice"] == choice
    state.answered(make.answer("", {"look_up": "{}"}), "msg_a", make.now)
    run_tools(state, make)
    assert request_of(state)["tool_choice"] == choice
    assert [tool["function"]["name"] for tool in request_of(state)["tools"]] == ["book"]
    state.answered(make.answer("", {"book": "{}"}), "msg_b", make.now)
    assert state.next() == Finish("tool_calls")


def test_parallel_tool_calls_goes_with_tools_only(make: Make) -> None:
    agent = make.agent(parameters={"parallel_tool_calls": False})
    assert "parallel_tool_calls" not in request_of(state_of(agent, make.claimed(), None))
    with_tools = make.agent(parameters={"parallel_tool_calls": False}, tools=[make.tool()])
    assert request_of(state_of(with_tools, make.claimed(), None))["parallel_tool_calls"] is False


def test_what_was_shown_before_a_stop_is_kept_as_partial(make: Make) -> None:
    state = state_of(make.agent(), make.claimed(), None)
    state.asked()
    state.shown("Once upon ")
    state.shown("a ti")
    state.stopped(["msg_p"], make.now)
    assert [(message.content, message.status) for message in state.output] == [("Once upon a ti", "partial")]
    assert state.usage.estimated


def test_a_model_that_was_stopped_before_its_first_text_has_still_read_the_prompt(make: Make) -> None:
    state = state_of(make.agent(), make.claimed(), None)
    state.asked()
    state.stopped(["msg_p"], make.now)
    assert state.output == []
    assert (state.usage.estimated, state.usage.completion_tokens) == (True, 0)
    assert state.usage.prompt_tokens > 0


def test_a_model_that_never_answered_has_used_nothing(make: Make) -> None:
    state = state_of(make.agent(), make.claimed(), None)
    state.asked()
    state.failed(ApiError(Code.UPSTREAM_ERROR))
    state.stopped(["msg_p"], make.now)
    assert state.usage.wire() == {"promptTokens": 0, "completionTokens": 0, "totalTokens": 0}


def test_nothing_shown_leaves_no_message(make: Make) -> None:
    state = state_of(make.agent(), make.claimed(), None)
    state.stopped(["msg_p"], make.now)
    assert state.output == []


def test_a_finished_turn_that_is_stopped_stays_as_it_is(make: Make) -> None:
    state = state_of(make.agent(), make.claimed(), None)
    state.shown("Hi.")
    state.answered(make.answer("Hi."), "msg_a", make.now)
    state.stopped(["msg_p"], make.now)
    assert [message.id for message in state.output] == ["msg_a"]


def test_calls_without_a_result_get_one_when_the_turn_stops(make: Make) -> None:
    state = state_of(make.agent(tools=[make.tool()]), make.claimed(), None)
    state.answered(make.answer("", {"look_up": "{}", "other": "{}"}), "msg_a", make.now)
    assert state.ids_to_stop == 3
    state.stopped(["msg_1", "msg_2", "msg_3"], make.now)
    assert [(message.role, message.tool_call_id, message.status) for message in state.output[1:]] == [
        ("tool", "call_look_up", "partial"),
        ("tool", "call_other", "partial"),
    ]


def test_a_failure_stands_whatever_was_pending(make: Make) -> None:
    state = state_of(make.agent(tools=[make.tool()]), make.claimed(), None)
    state.answered(make.answer("", {"look_up": "{}"}), "msg_a", make.now)
    state.failed(ApiError(Code.TURN_FAILED))
    assert isinstance(state.next(), Fail)


def test_usage_is_estimated_and_marked_when_one_model_call_reports_none(make: Make) -> None:
    state = state_of(make.agent(tools=[make.tool()]), make.claimed(), None)
    state.answered(make.answer("", {"look_up": "{}"}, usage=(100, 10)), "msg_a", make.now)
    run_tools(state, make)
    state.answered(make.answer("x" * 40), "msg_b", make.now)
    assert state.usage.estimated
    assert state.usage.completion_tokens == 20
    assert state.usage.prompt_tokens > 100
    assert state.usage.total_tokens == state.usage.prompt_tokens + state.usage.completion_tokens


def test_answers_that_are_not_used_are_charged_to_the_model_that_gave_them(make: Make) -> None:
    state = state_of(make.agent(), make.claimed(), None)
    first, second = (ModelChoice(upstream="default", name=name) for name in ("first", "second"))
    empty, used = make.answer("", usage=(10, 1)), make.answer("Hi.", usage=(10, 2))
    state.asked()
    state.charged([(first, empty), (first, make.answer("")), (second, used)], used)
    state.answered(used, "msg_a", make.now)
    assert [(use.model, use.usage.total_tokens) for use in state.spent.by_model] == [("first", 11), ("second", 12)]
    assert state.usage.total_tokens == 23


@pytest.mark.parametrize(("usage", "estimated"), [((10, 2), None), (None, True)])
def test_an_answer_that_broke_off_counts_once_as_reported_or_else_as_estimated(
    make: Make, usage: Any, estimated: bool | None
) -> None:
    state = state_of(make.agent(), make.claimed(), None)
    state.asked()
    state.shown("Hel")
    state.charged([(ModelChoice(upstream="default", name="m"), make.answer("Hel", usage=usage))])
    state.failed(ApiError(Code.UPSTREAM_ERROR))
    state.stopped(["msg_a"], make.now)
    assert (state.usage.completion_tokens, state.usage.estimated) == (2 if usage else 1, estimated)
    assert [use.model for use in state.spent.by_model] == ["m"]


def test_an_answer_uses_up_the_turns_room(make: Make) -> None:
    state = state_of(make.agent(tools=[make.tool()]), make.claimed(), None)
    state.answered(make.answer("12345", {"look_up": "{}"}), "msg_a", make.now)
    run_tools(state, make)
    step = state.next()
    assert isinstance(step, CallModel)
    assert step.room == state_module.MAX_OUTPUT - 7


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_the_models_finish_reason_is_the_turns(make: Make, reason: str) -> None:
    state = state_of(make.agent(), make.claimed(), None)
    state.answered(make.answer("Hi", reason=reason), "msg_a", make.now)
    assert state.next() == Finish(reason)  # type: ignore[arg-type]


def test_a_session_whose_turn_was_cancelled_before_its_first_text_stays_valid_for_strict_templates(make: Make) -> None:
    context = [make.message(content="one"), make.message("assistant", "")]
    claimed = make.claimed(make.message(content="two"), context=context)
    state = state_of(make.agent(instructions=""), claimed, None)
    sent = request_of(state)["messages"]
    assert sent == [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": NO_ANSWER},
        {"role": "user", "content": "two"},
    ]
    as_is = request_of(state, "as_is")["messages"]
    assert as_is == sent


@pytest.mark.parametrize("reason", ["stop", "length", "content_filter"])
def test_an_answer_without_text_is_flagged_and_left_out_of_later_prompts(make: Make, reason: str) -> None:
    state = TurnState(make.agent(), make.claimed(), None)
    state.answered(make.answer("", reason=reason), "msg_1", make.now)
    assert state.next() == Finish(reason)  # type: ignore[arg-type]
    (message,) = state.output
    assert (message.content, message.empty) == ("", True)
    context = (make.message(), message)
    later = TurnState(make.agent(), make.claimed(make.message("user", "And now?"), context=context), None)
    assert [sent["content"] for sent in request_of(later)["messages"]] == [
        "Be kind.",
        "Hello?",
        NO_ANSWER,
        "And now?",
    ]


def test_a_request_that_was_too_long_loses_its_oldest_turns(make: Make) -> None:
    context = tuple(make.message(role, "word " * 500) for _ in range(5) for role in ("user", "assistant"))
    state = TurnState(make.agent(), make.claimed(context=context), None)
    request = state.shrink()
    assert request is not None
    step = state.next()
    assert isinstance(step, CallModel)
    assert request["messages"] == step.messages
    assert 1 < len(step.messages) < len(context)
