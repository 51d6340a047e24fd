"""Pure: the ids of a turn's messages and calls. A client keeps those of a whole thread apart by them alone.

A call of the client's own tools has another separator than one that the server has run.
"""

import re
from typing import Any, Final

_OF_TURN: Final = re.compile(r"(trn_[0-9a-z]{26})[.:]")
_CALLERS: Final = re.compile(r"trn_[0-9a-z]{26}:(.+)", re.DOTALL)


def message_id(turn_id: str, number: int) -> str:
    """`number`: of the answer's messages, from 0."""
    return f"{turn_id}.{number}"


def call_id(turn_id: str, own: str) -> str:
    return f"{turn_id}.{own}"


def result_id(call: str) -> str:
    """The id of the message with the call's result."""
    return f"{call}.result"


def callers_call_id(turn_id: str, own: str) -> str:
    return f"{turn_id}:{own}"


def turn_of(given: Any) -> str | None:
    """The turn that a message's id names; None for a message that the client has made."""
    found = _OF_TURN.match(given) if isinstance(given, str) else None
    return found[1] if found else None


def callers_call(given: Any) -> str | None:
    """The model's id of a call that the client has run; None for any other id."""
    found = _CALLERS.fullmatch(given) if isinstance(given, str) else None
    return found[1] if found else None
