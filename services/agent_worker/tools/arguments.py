"""Arguments of tool calls: read from the model's text and checked against the tool's schema. Keys of calls."""

import hashlib
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import orjson

from shared.contracts.sessions import ToolCall
from shared.json_schema import checker as schema_checker

MAX_ARGUMENTS: Final = 64 * 1024
# orjson reads 1024 levels but writes only 254, and the arguments are embedded some levels deep in other documents.
MAX_DEPTH: Final = 64


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
        # Some models write an empty text for no arguments.
        arguments = orjson.loads(text) if text.strip() else {}
    except orjson.JSONDecodeError:
        raise BadArguments("The arguments are not valid JSON.") from None
    if not isinstance(arguments, dict):
        raise BadArguments("The arguments are not a JSON object.")
    if not is_shallow(arguments, MAX_DEPTH):
        raise BadArguments("The arguments are nested too deeply.")
    return arguments


def is_shallow(value: Any, levels: int) -> bool:
    """Whether lists and objects are nested at most `levels` deep."""
    if not isinstance(value, (dict, list)):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(is_shallow(each, levels - 1) for each in inner)


def call_digest(call: ToolCall) -> str:
    """The same for calls of the same tool with the same arguments, however these are spelled."""
    try:
        canonical = orjson.dumps(orjson.loads(call.arguments or "{}"), option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        canonical = call.arguments.encode("utf-8", "replace")
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
