"""Pure: what an attempt at a turn does next, and what came of it."""

from dataclasses import dataclass
from typing import Any

from services.agent_worker.turns.paired_calls import PromptMessage
from shared.contracts.errors import ApiError
from shared.contracts.sessions import ToolCall
from shared.contracts.turns import FinishReason


@dataclass(frozen=True, slots=True)
class CallModel:
    """What the model is sent, without its name. `room`: characters that the answer may have.

    `messages` are not adapted to a chat template yet, because the upstream that answers decides the mode.
    """

    members: dict[str, Any]
    messages: list[PromptMessage]
    room: int


@dataclass(frozen=True, slots=True)
class RunTools:
    """Calls of the agent's own tools, in the model's order. The model chose the names: there may be no such tool."""

    calls: tuple[ToolCall, ...]


@dataclass(frozen=True, slots=True)
class Finish:
    reason: FinishReason


@dataclass(frozen=True, slots=True)
class Fail:
    error: ApiError


Step = CallModel | RunTools | Finish | Fail
