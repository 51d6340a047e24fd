"""What a guardrail decides about some texts."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Block:
    """`message` is what the client reads in their place."""

    message: str


@dataclass(frozen=True, slots=True)
class Texts:
    """They go on. Those that were replaced differ from what the guardrail got."""

    texts: list[str]


Verdict = Block | Texts


class GuardrailFailure(Exception):
    """The guardrail came to no decision. The text is for the log, and holds nothing of what was checked."""


class Blocked(Exception):
    """A guardrail ends the turn. `message` is for the client."""

    def __init__(self, message: str) -> None:
        super().__init__()
        self.message = message
