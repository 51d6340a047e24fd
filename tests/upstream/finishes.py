"""Finish reasons, and empty answers."""

from tests.upstream.script import (
    DONE,
    Behaviour,
    Reply,
    behaviour,
    call,
    calls,
    delta,
    event,
    fault,
    stream,
    text,
    usage,
)

_CALL = calls(call("look_up", '{"id":1}', index=0, id="call_1"))
_FOUND = (("look_up", '{"id":1}'),)

_TEXTS = {
    "STOP": "stop",
    "end_turn": "stop",
    "eos": "stop",
    "COMPLETE": "stop",
    "FinishReason.STOP": "stop",
    "stop_sequence": "stop",
    "MAX_TOKENS": "length",
    "model_length": "length",
    "max_output_tokens": "length",
    "model_context_window_exceeded": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "sensitive": "content_filter",
    "refusal": "content_filter",
    "guardrail_intervened": "content_filter",
}
_FAULTS = (
    "error", "ERROR", "abort", "cancelled", "insufficient_system_resource", "network_error", "MALFORMED_FUNCTION_CALL",
    "UNEXPECTED_TOOL_CALL", "timeout",
)  # fmt: skip
# A reason that cuts an answer makes its calls unusable.
_CUTTING = {"length": "length", "MAX_TOKENS": "length", "model_length": "length", "SAFETY": "content_filter"}

FINISHES: dict[str, Behaviour] = {
    **{
        f"text-ends-with-{word}": behaviour(stream(text("Hello"), finish=word), text="Hello", finish=meaning)
        for word, meaning in _TEXTS.items()
    },
    **{
        f"ends-with-{word}": fault(
            stream(text("Hel"), finish=word), kind="server", retryable=True, requests=1, text="Hel"
        )
        for word in _FAULTS
    },
    **{
        f"calls-end-with-{word}": behaviour(stream(_CALL, finish=word), finish=meaning)
        for word, meaning in _CUTTING.items()
    },
    "error-before-text": behaviour(stream(finish="error"), stream(text("Hello")), text="Hello", requests=2),
    "calls-end-with-error": fault(stream(_CALL, finish="error"), kind="server", retryable=True, requests=3),
    "error-in-the-choice": fault(
        stream(
            text("Hel"),
            event(
                {
                    "choices": [
                        {"index": 0, "delta": {}, "finish_reason": "error", "error": {"code": 502, "message": "x"}}
                    ]
                }
            ),
            finish=None,
        ),
        kind="server",
        retryable=True,
        requests=1,
        text="Hel",
    ),
    "permanent-error-in-the-choice": fault(
        stream(event({"choices": [{"index": 0, "delta": {}, "error": {"code": 403, "message": "x"}}]}), finish=None),
        kind="refused",
        retryable=False,
        requests=1,
    ),
    "unknown-reason": behaviour(
        stream(text("Hello"), finish="mystery"), text="Hello", finish="stop", quirk="unknown_finish_reason"
    ),
    "unknown-reason-with-calls": fault(stream(_CALL, finish="mystery"), kind="bad_stream", retryable=True, requests=3),
    "unknown-reason-with-text-and-calls": behaviour(stream(text("Hello"), _CALL, finish="mystery"), text="Hello"),
    "done-without-reason-behind-calls": fault(stream(_CALL, finish=None), kind="cut", retryable=True, requests=3),
    "reason-as-a-number": behaviour(
        stream(text("Hello"), event({"choices": [{"index": 0, "delta": {}, "finish_reason": 7}]}), finish=None),
        text="Hello",
    ),
    "reason-as-the-text-null": behaviour(
        stream(event({"choices": [{"index": 0, "delta": {"content": "Hel"}, "finish_reason": "null"}]}), text("lo")),
        text="Hello",
    ),
    "reason-as-empty-text": behaviour(
        stream(event({"choices": [{"index": 0, "delta": {"content": "Hel"}, "finish_reason": ""}]}), text("lo")),
        text="Hello",
    ),
    "calls-end-with-stop": behaviour(stream(_CALL, finish="stop"), finish="tool_calls", calls=_FOUND),
    "calls-end-with-TOOL_CALLS": behaviour(stream(_CALL, finish="TOOL_CALLS"), finish="tool_calls", calls=_FOUND),
    "calls-end-with-tool_use": behaviour(stream(_CALL, finish="tool_use"), finish="tool_calls", calls=_FOUND),
    "calls-end-with-end_turn": behaviour(stream(_CALL, finish="end_turn"), finish="tool_calls", calls=_FOUND),
    "tool-calls-without-calls": behaviour(stream(text("Hello"), finish="tool_calls"), text="Hello"),
    # --- empty answers
    "empty-once": behaviour(stream(), stream(text("Hello")), text="Hello", requests=2),
    "empty-always": behaviour(stream(), finish="stop", requests=3, quirk="empty_answer"),
    "empty-text-chunks": behaviour(stream(text("", "")), finish="stop", requests=3),
    "reasoning-only": behaviour(stream(delta(reasoning_content="Hm.")), reasoning="Hm.", requests=3),
    "empty-with-usage": behaviour(
        Reply(pieces=(delta("stop"), event({"choices": [], "usage": usage(3, 0)}), DONE)),
        finish="stop",
        requests=3,
        usage=(3, 0, 3),
    ),
    "empty-by-length": behaviour(
        stream(delta(reasoning_content="Hm."), finish="length"), finish="length", reasoning="Hm."
    ),
    "empty-by-filter": behaviour(stream(finish="content_filter"), finish="content_filter"),
    "empty-then-down": behaviour(stream(), Reply(status=500), finish="stop", requests=3),
}
