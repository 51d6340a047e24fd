"""The types of frames that a turn's stream can carry: when each is sent, and the members of its data.

This table is the source of `deploy/reference/frames.md` and of the event names in the API document. The system tests
compare every frame that they receive with it. Clients ignore types and members that they do not know.
"""

from typing import Final, NamedTuple


class FrameType(NamedTuple):
    """`members`: a member's name and meaning; a name that ends in `?` may be missing.

    `source`: the process that writes it.
    """

    source: str
    when: str
    members: dict[str, str]
    terminal: bool = False


_TOOL_CALL: Final = {"toolCallId": "id of the call", "name": "name of the tool"}

FRAME_TYPES: Final[dict[str, FrameType]] = {
    "queued": FrameType(
        "gateway",
        "First, to every reader that brings no `Last-Event-ID`. It has no `id:`.",
        {
            "turnId": "id of the turn",
            "sessionId": "id of the session",
            "userMessageId": "id of the stored user message",
            "position": "number of turns ahead in the queue; 0: next, or running already",
        },
    ),
    "started": FrameType(
        "worker",
        "An attempt has started.",
        {
            "turnId": "id of the turn",
            "agentId": "id of the agent",
            "agentVersion": "number of the agent's version",
            "attempt": "number of the attempt, from 1",
            "waitMs": "time that the turn waited in the queue, milliseconds",
        },
    ),
    "delta": FrameType("worker", "A piece of the answer.", {"text": "text to append"}),
    "reasoning": FrameType(
        "worker",
        "A piece of the model's reasoning, if the request that posted the message and the one that reads the stream "
        "both have `?include=reasoning`. It is not stored.",
        {"text": "text to append to the reasoning"},
    ),
    "kb_retrieval": FrameType(
        "worker",
        "A search of the agent's knowledge.",
        {
            "query": "text that was searched for",
            "passages": "list of `{id, sourceId, title, heading?, url?, page?, text, score, marker?}`, best first; "
            "`marker` is"
            " the n of `[n]` in the answer",
        },
    ),
    "tool_call": FrameType(
        "worker",
        "The agent calls one of its tools.",
        {**_TOOL_CALL, "arguments": "arguments of the call, as the model wrote them (a JSON text)"},
    ),
    "tool_result": FrameType(
        "worker",
        "A tool has answered.",
        {
            **_TOOL_CALL,
            "status": "`ok` or `error`",
            "result": "text that the model receives",
            "durationMs": "duration of the call, milliseconds",
        },
    ),
    "guardrail": FrameType(
        "worker",
        "A guardrail of the agent has acted. After `block` its message follows as a `delta`, and the turn ends with the"
        " finish reason `content_filter`.",
        {"stage": "`input` or `output`", "action": "`block` or `replace`", "name": "name of the guardrail"},
    ),
    "restarted": FrameType(
        "worker or gateway",
        "The text shown so far for this turn is void: drop it. Another worker took the turn over, or the run log has"
        " expired and the stored turn follows.",
        {"attempt": "number of the attempt that follows", "reason": "`worker_lost` or `log_expired`"},
    ),
    "done": FrameType(
        "history",
        "Last. The transcript is stored.",
        {
            "turnId": "id of the turn",
            "status": "`completed` or `cancelled`",
            "finishReason": "`stop`, `length`, `tool_calls`, `content_filter` or `cancelled`",
            "messages": "stored assistant and tool messages of this turn; `citations` of a message map its markers "
            "to passages:"
            " list of `{marker, start, end, passage}`, places in Unicode characters, `end` excluded",
            "usage": "tokens that the turn used, or null",
            "timing": "`{queuedMs, firstTokenMs, totalMs}`, or null",
            "traceId?": "the turn's trace, where the operator has traces on",
        },
        terminal=True,
    ),
    "error": FrameType(
        "history or gateway",
        "Last, in place of `done`: the turn has failed.",
        {
            "turnId": "id of the turn",
            "type": "path of the error code, `/errors/<code>`",
            "title": "meaning of the code",
            "status": "HTTP status that the code has elsewhere",
            "detail": "text for people",
            "code": "one of `errors.md`",
            "retryable": "whether the same message may succeed when it is sent again",
            "error": "the error in OpenAI's form, `{message, type, param, code}`",
            "instance?": "id of the request",
            "errors?": "list of `{field, message}`",
            "traceId?": "the turn's trace, where the operator has traces on",
        },
        terminal=True,
    ),
}


def data_faults(event: str, data: dict[str, object]) -> list[str]:
    """What this frame's data has too much or too little of, by the table."""
    kind = FRAME_TYPES.get(event)
    if kind is None:
        return [f"{event} is not a frame type"]
    allowed = {name.removesuffix("?") for name in kind.members}
    required = {name for name in kind.members if not name.endswith("?")}
    missing, unknown = sorted(required - set(data)), sorted(set(data) - allowed)
    return [f"{event} lacks {name}" for name in missing] + [f"{event} has {name}" for name in unknown]
