"""Pure: a turn as a `response`, with every member that OpenAI's and the Open Responses document ask for."""

from collections.abc import Sequence
from typing import Any, Final

from services.gateway.faces.responses.ids import response_id
from services.gateway.faces.responses.output import Item, output_items
from shared.contracts.turns import ENDED, CompletionRequest, StoredTurn, Turn, terminal_frame

# A turn's finish reason, as the reason why a response is incomplete.
_INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}
_RATE_LIMITS: Final = frozenset({"rate_limited", "budget_exceeded"})
_DEFAULTS: Final = {"temperature": 1.0, "top_p": 1.0, "frequency_penalty": 0.0, "presence_penalty": 0.0}


class ResponseShape:
    """One turn's responses, from its first event to its stored form. `request`: what its caller added to the agent."""

    def __init__(self, turn: Turn, request: CompletionRequest | None) -> None:
        self._turn = turn
        request = request or CompletionRequest()
        self.request = request
        self._head = _asked(turn, request)

    def running(self, status: str = "in_progress") -> dict[str, Any]:
        return self._with(status)

    def ended(self, data: dict[str, Any], items: Sequence[Item]) -> dict[str, Any]:
        """From the data of the `done` frame, and the items of its messages."""
        finish = data.get("finishReason")
        reason = _INCOMPLETE.get(finish or "")
        status = "cancelled" if data["status"] == "cancelled" else "incomplete" if reason else "completed"
        return self._with(
            status,
            output=items,
            usage=usage_shape(data.get("usage")),
            completed_at=_completed_at(self._turn, data) if status == "completed" else None,
            incomplete_details={"reason": reason} if status == "incomplete" else None,
        )

    def failed(self, problem: dict[str, Any], output: Sequence[Item] = ()) -> dict[str, Any]:
        """From the data of the `error` frame."""
        code = "rate_limit_exceeded" if problem.get("code") in _RATE_LIMITS else "server_error"
        return self._with("failed", output=output, error={"code": code, "message": problem.get("detail") or ""})

    def _with(self, status: str, **more: Any) -> dict[str, Any]:
        return {**self._head, "status": status, **more}


def stored_response(stored: StoredTurn, *, shows_results: bool = False) -> dict[str, Any]:
    """A turn as it stands."""
    turn, shape = stored.turn, ResponseShape(stored.turn, stored.completion)
    if turn.status not in ENDED:
        return shape.running("queued" if turn.status == "queued" else "in_progress")
    event, data = terminal_frame(turn, stored.output)
    if event == "error":
        messages = [message.public(turn.session_id, turn.id) for message in stored.output]
        return shape.failed(data, output_items(turn, messages, None, shows_results=shows_results))
    items = output_items(turn, data["messages"], data.get("finishReason"), shows_results=shows_results)
    return shape.ended(data, items)


def usage_shape(usage: dict[str, Any] | None) -> dict[str, Any]:
    usage = usage or {}
    return {
        "input_tokens": usage.get("promptTokens", 0),
        "input_tokens_details": {"cached_tokens": usage.get("cachedTokens") or 0, "cache_write_tokens": 0},
        "output_tokens": usage.get("completionTokens", 0),
        "output_tokens_details": {"reasoning_tokens": usage.get("reasoningTokens") or 0},
        "total_tokens": usage.get("totalTokens", 0),
    }


def _completed_at(turn: Turn, data: dict[str, Any]) -> int:
    """From what the `done` frame says, so that the stream and the stored response agree."""
    return int(turn.created_at.timestamp() + (data.get("timing") or {}).get("totalMs", 0) / 1000)


def _asked(turn: Turn, request: CompletionRequest) -> dict[str, Any]:
    """What does not change while the turn runs. Members that were not sent have OpenAI's defaults."""
    given = request.parameters
    previous = request.previous
    return {
        "id": response_id(turn.id),
        "object": "response",
        "created_at": int(turn.created_at.timestamp()),
        "completed_at": None,
        "status": "in_progress",
        "background": request.background,
        "conversation": {"id": turn.session_id} if turn.session_id else None,
        "error": None,
        "incomplete_details": None,
        "instructions": request.instructions,
        "max_output_tokens": given.get("max_completion_tokens"),
        "max_tool_calls": None,
        "metadata": request.metadata,
        "model": turn.agent_id,
        "output": [],
        "parallel_tool_calls": given.get("parallel_tool_calls", True),
        "previous_response_id": response_id(previous) if previous else None,
        "prompt_cache_key": None,
        "reasoning": {"effort": given.get("reasoning_effort"), "summary": None},
        "safety_identifier": request.end_user.id if request.end_user else None,
        "service_tier": "default",
        "store": request.store or turn.session_id is not None,
        "text": _text(given),
        "tool_choice": _tool_choice(request.tool_choice),
        "tools": [_tool(tool.function) for tool in request.tools],
        "top_logprobs": 0,
        "truncation": "auto",
        "usage": None,
        "user": None,
        **{name: given.get(name, default) for name, default in _DEFAULTS.items()},
    }


def _text(given: dict[str, Any]) -> dict[str, Any]:
    sent = given.get("response_format") or {"type": "text"}
    schema = sent.get("json_schema")
    shown = {"description": None, "strict": False} | schema if schema else {}
    return {"format": {"type": sent["type"], **shown}, "verbosity": given.get("verbosity") or "medium"}


def _tool(function: dict[str, Any]) -> dict[str, Any]:
    names = ("name", "description", "parameters", "strict")
    return {"type": "function", **{name: function.get(name) for name in names}}


def _tool_choice(choice: Any) -> Any:
    """As Responses write it: a chat completion names the function one level deeper."""
    function = choice.get("function") if isinstance(choice, dict) else None
    return {"type": "function", "name": function["name"]} if function else choice or "auto"
