"""The result of a tool call, for the model and the transcript."""

from dataclasses import dataclass

from shared.contracts.sessions import ToolCall


class ToolFailure(Exception):
    """The call has no good result. The text is for the model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolResult:
    """A tool's answer, as the model and the transcript get it."""

    call: ToolCall
    ok: bool
    text: str
    duration_ms: int = 0
