"""Arguments of tool calls: read from the model's text and checked against the tool's JSON schema."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

import jsonschema
import orjson
import referencing
from jsonschema.protocols import Validator

from shared.contracts.sessions import ToolCall

MAX_ARGUMENTS: Final = 64 * 1024
_COMPLAINT: Final = 500


class BadArguments(Exception):
    """The arguments are not what the tool takes; the text is for the model."""


def _accept(*_: Any) -> Iterator[Any]:
    return iter(())


# Agents' authors and models are strangers to each other and to us: a regular expression of the one run over a text of the
# other can hold a worker for ever. Python's engine has no bound, so these keywords are not checked.
_Checker: Final = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator, {"pattern": _accept, "patternProperties": _accept}
)


def checker(schema: dict[str, Any]) -> Callable[[ToolCall], dict[str, Any]]:
    """Reads and checks the arguments of one tool's calls; compile once, use often. The result raises BadArguments.

    A schema may refer to its own parts only: without a registry jsonschema would fetch others from wherever they say.
    """
    validator: Validator = _Checker(schema, registry=referencing.Registry())

    def check(call: ToolCall) -> dict[str, Any]:
        arguments = _read(call.arguments)
        try:
            error = jsonschema.exceptions.best_match(validator.iter_errors(arguments))
        except (
            referencing.exceptions.Unresolvable,
            jsonschema.exceptions.UnknownType,
            RecursionError,
            ValueError,
            TypeError,
            AttributeError,
        ):
            raise BadArguments("The tool's schema is not usable.") from None
        if error is not None:
            raise BadArguments(f"Arguments refused at {error.json_path}: {error.message[:_COMPLAINT]}")
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
