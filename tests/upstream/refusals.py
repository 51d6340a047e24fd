"""Servers that refuse a request for a member that they do not know, and take it without."""

from collections.abc import Callable
from typing import Any

from tests.upstream.script import Behaviour, Reply, behaviour, fault, refused, stream, text

_HELLO = stream(text("Hello"))


def _unless(member: str, status: int, body: Any) -> Callable[[dict[str, Any]], Reply]:
    return lambda asked: refused(status, body) if member in asked else _HELLO


def _without(member: str, status: int, body: Any) -> Behaviour:
    return behaviour(_unless(member, status, body), text="Hello", requests=2)


def _error(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", **more}}


REFUSALS: dict[str, Behaviour] = {
    "unknown-stream_options": _without(
        "stream_options", 400, _error("Unrecognized request argument supplied: stream_options")
    ),
    "unknown-by-param": _without(
        "stream_options", 400, _error("Unknown parameter", param="stream_options", code="unknown_parameter")
    ),
    "unknown-by-pydantic": _without(
        "stream_options",
        422,
        {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs"}]},
    ),
    "unknown-by-google": _without(
        "stream_options",
        400,
        [{"error": {"code": 400, "message": 'Unknown name "stream_options": Cannot find field.'}}],
    ),
    "unsupported-temperature": _without(
        "temperature",
        400,
        _error("Unsupported parameter: 'temperature' is not supported with this model.", param="temperature"),
    ),
    "renamed-max_tokens": behaviour(
        lambda asked: (
            _HELLO
            if asked.get("max_completion_tokens") == 99
            else refused(400, _error("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens'."))
        ),
        text="Hello",
        requests=2,
    ),
    "unknown-reasoning_content": behaviour(
        lambda asked: (
            refused(400, _error("messages.1.reasoning_content: Extra inputs are not permitted"))
            if any("reasoning_content" in message for message in asked["messages"])
            else _HELLO
        ),
        text="Hello",
    ),
    "too-long-once": behaviour(
        lambda asked: (
            refused(400, _error("This model's maximum context length is 8 tokens.", code="context_length_exceeded"))
            if len(asked["messages"]) > 1
            else _HELLO
        ),
        text="Hello",
    ),
    "too-long-twelve": behaviour(
        lambda asked: (
            refused(400, _error("This model's maximum context length is 8 tokens.", code="context_length_exceeded"))
            if len(asked["messages"]) > 12
            else _HELLO
        ),
        text="Hello",
    ),
    "two-unknown-members": behaviour(
        lambda asked: (
            refused(400, _error("unknown field: stream_options"))
            if "stream_options" in asked
            else refused(400, _error("unknown field: temperature"))
            if "temperature" in asked
            else _HELLO
        ),
        text="Hello",
        requests=3,
    ),
    "unknown-essential-member": fault(
        refused(400, _error("unknown field: messages")), kind="refused", retryable=False, requests=1
    ),
    "unknown-member-that-was-not-sent": fault(
        refused(400, _error("unknown field: banana")), kind="refused", retryable=False, requests=1
    ),
    "unsupported-value": fault(
        refused(
            400,
            _error(
                "Unsupported value: 'temperature' does not support 0.2", code="unsupported_value", param="temperature"
            ),
        ),
        kind="refused",
        retryable=False,
        requests=1,
    ),
}
