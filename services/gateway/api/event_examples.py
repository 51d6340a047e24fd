"""One example of each event, for the API document. A test compares them with the schemas. Pure."""

from typing import Any, Final

from services.gateway.api.schemas import MESSAGE
from services.gateway.edge.json_schema import PROBLEM

_TURN: Final = "trn_01kb3c9w6n8r2t4v6x8z0b2d4b"
_SESSION: Final = "ses_01kb3c9w6n8r2t4v6x8z0b2d4a"
_AGENT: Final = "agt_01kb3c9w6n8r2t4v6x8z0b2d4c"
_CALL: Final = {"toolCallId": "call_1", "name": "order_status"}
_MESSAGE: Final = MESSAGE["examples"][0]
_PROBLEM: Final = PROBLEM["examples"][0] | {
    "type": "/errors/upstream_error",
    "title": "The model failed",
    "status": 502,
    "detail": "The model failed",
    "code": "upstream_error",
    "retryable": True,
}
_END: Final = {
    "finishReason": "stop",
    "messages": [_MESSAGE],
    "usage": {"promptTokens": 421, "completionTokens": 12, "totalTokens": 433},
    "timing": {"queuedMs": 3, "firstTokenMs": 240, "totalMs": 910},
}
_PASSAGE: Final = {
    "id": "psg_4f0c2d9be1a75c3e8d6b0a9f21",
    "sourceId": "src_01kb3c9w6n8r2t4v6x8z0b2d4e",
    "title": "Returns",
    "text": "You have 30 days to send an article back.",
    "score": 0.82,
    "marker": 1,
}
_DATA: Final[dict[str, dict[str, Any]]] = {
    "queued": {"turnId": _TURN, "sessionId": _SESSION, "userMessageId": _MESSAGE["id"], "position": 0},
    "started": {"turnId": _TURN, "agentId": _AGENT, "agentVersion": 3, "attempt": 1, "waitMs": 3},
    "delta": {"text": "You have 30 "},
    "reasoning": {"text": "The passage names 30 days."},
    "kb_retrieval": {"query": "How long do I have to send it back?", "passages": [_PASSAGE]},
    "tool_call": {**_CALL, "arguments": '{"order_id":"1042"}'},
    "tool_result": {**_CALL, "status": "ok", "result": '{"status":"out_for_delivery"}', "durationMs": 42},
    "guardrail": {"stage": "output", "action": "replace", "name": "cards"},
    "restarted": {"attempt": 2, "reason": "worker_lost"},
    "done": {"turnId": _TURN, "status": "completed", **_END},
    "error": {"turnId": _TURN, **_PROBLEM},
    "turn_started": {
        "turnId": _TURN,
        "sessionId": _SESSION,
        "number": 1,
        "agentId": _AGENT,
        "agentVersion": 3,
        "createdAt": "2026-11-27T10:00:00.000Z",
        "messages": [{**_MESSAGE, "role": "user", "content": "How long do I have to send it back?"}],
    },
    "turn_ended": {"turnId": _TURN, "number": 1, "status": "completed", **_END},
    "session_ended": {"sessionId": _SESSION, "endedReason": "api", "endedAt": "2026-11-27T10:05:00.000Z"},
}
# Made for one reader, or last and without a place to go on after.
_WITHOUT_ID: Final = frozenset({"queued", "session_ended"})


def event_example(name: str, *, of_session: bool) -> dict[str, Any]:
    """`of_session`: as the stream of a session tells it, where ids name the turn."""
    data = _PROBLEM if of_session and name == "error" else _DATA[name]
    example = {"event": name, "data": data}
    if name in _WITHOUT_ID or (of_session and name == "error"):
        return example
    return example | {"id": f"{_TURN}.1-2" if of_session else "1-2"}
