"""What a claim says of a turn's budgets: a part of the queue's script, and its answer read."""

from pathlib import Path
from typing import Final

from shared.budgets.counters import refusal_of
from shared.contracts.errors import ApiError

# Brings the Lua function `reserve(turn id)`.
COUNTERS: Final = Path(__file__).with_name("lua") / "counters.lua"
# How long a turn waits that turns which run may leave no room for.
WAIT_S: Final = 0.5
_HELD: Final = b"held"
_USED: Final = b"used:"


def must_wait(answer: bytes | None) -> bool:
    return answer == _HELD


def refused(answer: bytes | None) -> ApiError | None:
    """The error with which the turn ends."""
    if answer is None or not answer.startswith(_USED):
        return None
    return refusal_of(answer.removeprefix(_USED).decode())
