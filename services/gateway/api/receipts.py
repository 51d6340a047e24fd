"""Receipts: what is stored of a turn, with its retrievals, tool calls and timing taken out of its messages. Pure."""

from collections.abc import Iterable
from typing import Any, Final

from services.gateway.api.schemas import MESSAGE, RETRIEVAL
from services.gateway.edge.json_schema import ANY, TEXT, Named, object_of
from shared.contracts.sessions import TurnMessage
from shared.contracts.turns import StoredTurn

RECEIPT: Final = Named(
    "Receipt",
    object_of(
        {
            "turn": {"$ref": "#/components/schemas/Turn"},
            "number": {
                "type": "integer",
                "minimum": 0,
                "description": "the turn's place in its session; 0: a completion",
            },
            "messages": {"type": "array", "items": MESSAGE},
            "retrievals": {
                "type": "array",
                "items": RETRIEVAL,
            },
            "toolCalls": {
                "type": "array",
                "items": object_of(
                    {"id": TEXT, "name": TEXT, "arguments": TEXT},
                    {"result": {"type": "string", "description": "missing where the call has none"}},
                ),
            },
        },
        {
            "timing": ANY,
            "usage": ANY,
            "gap": {
                "enum": ["nothing_found", "nothing_cited"],
                "description": "a gap of the agent's knowledge",
            },
            "feedback": {
                "type": "object",
                "description": "what was last said about the answer: `{messageId, rating, comment?, givenAt}`",
            },
        },
    ),
)


def receipt(stored: StoredTurn) -> dict[str, Any]:
    turn = stored.turn.wire()
    messages = (*stored.input, *stored.output)
    shown = {
        "turn": turn,
        "number": stored.number,
        "messages": [message.public(stored.turn.session_id, stored.turn.id) for message in messages],
        "retrievals": [retrieval.wire() for message in messages for retrieval in message.knowledge or ()],
        "toolCalls": list(_tool_calls(stored.output)),
    }
    if stored.gap is not None:
        shown["gap"] = stored.gap
    if stored.feedback is not None:
        shown["feedback"] = stored.feedback.wire()
    return shown | {name: turn[name] for name in ("timing", "usage") if name in turn}


def _tool_calls(messages: Iterable[TurnMessage]) -> Iterable[dict[str, Any]]:
    """Each call with its result. A call's id is unique only among the calls of one message."""
    calls: list[dict[str, Any]] = []
    for message in messages:
        asked = message.tool_calls or ()
        calls += [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in asked]
        if message.role == "tool":
            waiting = (call for call in reversed(calls) if call["id"] == message.tool_call_id and "result" not in call)
            if (call_of := next(waiting, None)) is not None:
                call_of["result"] = message.content or ""
    return calls
