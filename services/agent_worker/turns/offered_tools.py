"""Pure: which tools a model is offered, the agent's and the caller's, and which it must call."""

from collections.abc import Sequence
from typing import Any

from shared.contracts.turns import CompletionRequest

Definition = dict[str, Any]


class OfferedTools:
    """The caller's tools stand beside the agent's and hide an agent's tool of the same name.

    The caller's `tool_choice` is about its own tools: `none` leaves them out, `required` and a named one hold until
    the model calls one of them.
    """

    def __init__(self, agents: Sequence[Definition], completion: CompletionRequest | None) -> None:
        choice = completion.tool_choice if completion is not None else None
        offered = [tool.function for tool in completion.tools] if completion is not None and choice != "none" else []
        self.callers_names = frozenset(str(function.get("name")) for function in offered)
        self._callers = [{"type": "function", "function": function} for function in offered]
        self._agents = [tool for tool in agents if tool["function"]["name"] not in self.callers_names]
        self._required = choice if self._is_required(choice) else None

    def _is_required(self, choice: Any) -> bool:
        if choice == "required":
            return bool(self._callers)
        named = choice.get("function") if isinstance(choice, dict) else None
        return isinstance(named, dict) and named.get("name") in self.callers_names

    def add_to(self, request: dict[str, Any], *, is_last_call: bool) -> None:
        """Adds the tools to a request. At the last call only a call that the caller requires is still possible."""
        tools, choice = self._agents + self._callers, "none" if is_last_call else None
        if self._required is not None:
            choice = self._required
            tools = self._callers if is_last_call else tools
        if not tools:
            # OpenAI refuses this member beside an empty list of tools.
            request.pop("parallel_tool_calls", None)
            return
        request["tools"] = tools
        if choice is not None:
            request["tool_choice"] = choice
