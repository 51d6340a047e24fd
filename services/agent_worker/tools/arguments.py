"""Arguments of tool calls: read from the model's text, checked against the tool's JSON schema, and told apart."""

import hashlib
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import orjson

from shared.contracts.sessions import ToolCall
from shared.json_schema import checker as schema_checker

MAX_ARGUMENTS: Final = 64 * 1024


class BadArguments(Exception):
    """The arguments are not what the tool takes. The text is for the model."""


def checker(schema: dict[str, Any]) -> Callable[[ToolCall], dict[str, Any]]:
    """Reads and checks the arguments of one tool's calls; compile once, use often. The result raises BadArguments."""
    complaint_of = schema_checker(schema)

    def check(call: ToolCall) -> dict[str, Any]:
        arguments = _read(call.arguments)
        if (complaint := complaint_of(arguments)) is not None:
            raise BadArguments(f"The call was not made. Its arguments do not fit the tool. {complaint}")
        return arguments

    return check


def _read(text: str) -> dict[str, Any]:
    if len(text) > MAX_ARGUMENTS:
        raise BadArguments("The arguments are too long.")
    try:
        # Models write nothing where they mean no arguments.
        arguments = orjson.loads(text) if text.strip() else {}
    except orjson.JSONDecodeError:
        raise BadArguments("The arguments are not valid JSON.") from None
    if not isinstance(arguments, dict):
        raise BadArguments("The arguments are not a JSON object.")
    return arguments


def call_digest(call: ToolCall) -> str:
    """The same for calls of the same tool with the same arguments, however these are spelled."""
    try:
        canonical = orjson.dumps(orjson.loads(call.arguments or "{}"), option=orjson.OPT_SORT_KEYS)
    except orjson.JSONDecodeError:
        canonical = call.arguments.encode()
    return hashlib.sha256(call.name.encode() + b"\0" + canonical).hexdigest()[:32]


class CallKeys:
    """Idempotency keys of one attempt's tool calls, `<turnId>:<digest>:<occurrence>`.

    A later attempt that makes the same calls gets the same keys.
    """

    def __init__(self, turn_id: str) -> None:
        self._turn_id = turn_id
        self._seen: Counter[str] = Counter()

    def next(self, call: ToolCall) -> str:
        digest = call_digest(call)
        self._seen[digest] += 1
        return f"{self._turn_id}:{digest}:{self._seen[digest]}"
