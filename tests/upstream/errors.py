"""Errors: as statuses, inside a 200, and in the words of many servers."""

from tests.upstream.script import Behaviour, Reply, behaviour, delta, event, fault, refused, stream, text

_HELLO = stream(text("Hello"))


def _inside(value: object) -> Reply:
    return Reply(pieces=(event(value),))


def _permanent(reply: Reply, kind: str = "refused") -> Behaviour:
    return fault(reply, kind=kind, retryable=False, requests=1)


def _passing(reply: Reply) -> Behaviour:
    """The second try does it."""
    return behaviour(reply, _HELLO, text="Hello", requests=2)


_QUOTA = {
    "error": {"message": "You exceeded your current quota", "type": "insufficient_quota", "code": "insufficient_quota"}
}
_PASSING_CODES = (
    503, "503", "429", "rate_limit_exceeded", "overloaded_error", "server_error", "RESOURCE_EXHAUSTED", "UNAVAILABLE",
    None,
)  # fmt: skip
_PERMANENT_CODES = (
    400, "400", "401", 403, "404", "422", "invalid_request_error", "invalid_api_key", "model_not_found",
    "INVALID_ARGUMENT", "PERMISSION_DENIED", "content_policy_violation", "insufficient_quota",
)  # fmt: skip
_TOO_LONG = {
    "openai": {"message": "This model's maximum context length is 8192 tokens.", "code": "context_length_exceeded"},
    "code-alone": {"message": "no", "code": "context_length_exceeded"},
    "anthropic": {"type": "invalid_request_error", "message": "prompt is too long: 209303 tokens > 200000 maximum"},
    "gemini": {
        "code": 400,
        "message": "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
    },
    "llama_cpp": {
        "code": 400,
        "message": "request (9 tokens) exceeds the available context size (8)",
        "type": "exceed_context_size_error",
    },
    "llama_cpp-500": {"code": 500, "message": "Context size has been exceeded.", "type": "server_error"},
    "sglang": {
        "message": "The input (300 tokens) is longer than the model's context length (200 tokens).",
        "code": 400,
    },
    "groq": {"message": "Please reduce the length of the messages or completion.", "type": "invalid_request_error"},
    "litellm": {
        "message": "litellm.ContextWindowExceededError: x",
        "type": "ContextWindowExceededError",
        "code": "400",
    },
}

ERRORS: dict[str, Behaviour] = {
    **{f"status-{status}": _permanent(refused(status)) for status in (400, 401, 402, 403, 404, 413, 422, 501)},
    **{f"status-{status}": _passing(refused(status)) for status in (408, 409, 425, 429, 500, 502, 503, 504, 529)},
    **{f"code-inside-{code}": _passing(_inside({"error": {"message": "x", "code": code}})) for code in _PASSING_CODES},
    **{
        f"code-inside-{code}": _permanent(_inside({"error": {"message": "x", "code": code}}))
        for code in _PERMANENT_CODES
    },
    **{
        f"too-long-inside-{name}": _permanent(_inside({"error": error}), "context_length")
        for name, error in _TOO_LONG.items()
    },
    **{
        f"too-long-refused-{name}": _permanent(refused(400, {"error": error}), "context_length")
        for name, error in _TOO_LONG.items()
    },
    "error-as-text": _passing(_inside({"error": "busy"})),
    "flat-error": _permanent(
        _inside({"object": "error", "message": "no", "type": "BadRequestError", "param": None, "code": 400})
    ),
    "flat-error-without-object": _permanent(_inside({"message": "no", "type": "invalid_request_error", "code": "400"})),
    "typed-error": _passing(_inside({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})),
    "typed-permanent-error": _permanent(
        _inside({"type": "error", "error": {"type": "authentication_error", "message": "no"}})
    ),
    "fastapi-detail": _passing(_inside({"detail": "Internal Server Error"})),
    "error-in-a-list": _permanent(
        refused(400, [{"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT"}}])
    ),
    "error-in-a-list-inside": _permanent(_inside([{"error": {"code": 400, "message": "no"}}])),
    "error-event": _permanent(Reply(pieces=(b'event: error\ndata: {"error":{"code":"400","message":"no"}}\n\n',))),
    "json-error-with-200": _permanent(
        Reply(pieces=(b'{"error":{"message":"no","code":"invalid_api_key"}}',), content_type="application/json")
    ),
    "json-busy-with-200": _passing(
        Reply(pieces=(b'{"error":{"message":"x","code":503}}',), content_type="application/json")
    ),
    "json-error-in-a-stream": _permanent(Reply(pieces=(b'{"error":{"message":"no","code":"400"}}',))),
    "business-code": _passing(_inside({"base_resp": {"status_code": 1004, "status_msg": "x"}})),
    "error-with-choices": fault(
        Reply(
            pieces=(
                text("Hel"),
                event({"error": {"code": 502, "message": "x"}, "choices": [{"index": 0, "delta": {"content": ""}}]}),
            )
        ),
        kind="server",
        retryable=True,
        requests=1,
        text="Hel",
    ),
    "error-after-text": fault(
        Reply(pieces=(text("Hel"), event({"error": {"message": "x"}}))),
        kind="server",
        retryable=True,
        requests=1,
        text="Hel",
    ),
    "permanent-error-after-text": fault(
        Reply(pieces=(text("Hel"), event({"error": {"message": "x", "code": "400"}}))),
        kind="refused",
        retryable=False,
        requests=1,
        text="Hel",
    ),
    "error-behind-the-finish": behaviour(
        Reply(pieces=(text("Hello"), delta("stop"), event({"error": {"message": "x"}}))), text="Hello"
    ),
    "quota-as-429": _permanent(refused(429, _QUOTA)),
    "error-page": _passing(refused(502, b"<html>Bad Gateway</html>")),
    "empty-error": _passing(refused(500, b"")),
    "retry-after-0": _passing(refused(429, None, retry_after="0")),
    "retry-after-fraction": _passing(refused(429, None, retry_after="0.3")),
    "retry-after-ms": _passing(refused(429, None, retry_after_ms="300")),
    "retry-after-long": fault(refused(429, None, retry_after="86400"), kind="busy", retryable=True, requests=1),
    "retry-after-far-date": fault(
        refused(503, None, retry_after="Fri, 31 Dec 9999 23:59:59 GMT"), kind="busy", retryable=True, requests=1
    ),
    "retry-after-past-date": _passing(refused(503, None, retry_after="Fri, 31 Dec 1999 23:59:59 GMT")),
    "retry-after-nonsense": _passing(refused(503, None, retry_after="soon")),
    "retry-delay-in-details": fault(
        refused(429, {"error": {"code": 429, "details": [{"@type": "RetryInfo", "retryDelay": "34.5s"}]}}),
        kind="busy",
        retryable=True,
        requests=1,
    ),
}
