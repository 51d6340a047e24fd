"""JSON schemas of what the session routes send and no contract describes: messages and views of a turn."""

from typing import Any, Final

from services.gateway.edge.json_schema import COUNT, MAYBE_TEXT, TEXT, Named, object_of

TIME: Final = {"type": "string", "format": "date-time"}
USAGE: Final = {"anyOf": [{"$ref": "#/components/schemas/Usage"}, {"type": "null"}]}
_PASSAGE: Final[dict[str, Any]] = {"id": TEXT, "sourceId": TEXT, "title": TEXT}
_PLACE: Final[dict[str, Any]] = {"heading": TEXT, "url": TEXT, "page": {"type": "integer"}}
PASSAGES: Final[dict[str, Any]] = {
    "type": "array",
    "items": Named(
        "RetrievedPassage",
        object_of(
            {"sourceId": TEXT, "title": TEXT, "text": TEXT, "score": {"type": "number"}},
            {"id": TEXT, **_PLACE, "marker": {"type": "integer", "description": "the n of `[n]` in the answer"}},
        ),
    ),
}
RETRIEVAL: Final = Named("Retrieval", object_of({"query": TEXT, "passages": PASSAGES}))
_CITATION: Final = Named(
    "Citation",
    object_of(
        {
            "marker": {"type": "integer"},
            "start": COUNT,
            "end": COUNT,
            "passage": Named("CitedPassage", object_of(_PASSAGE, _PLACE)),
        },
        None,
        "A marker `[n]` in `content`. `start` and `end` are its place, in Unicode characters, `end` excluded.",
    ),
)
MESSAGE: Final = Named(
    "Message",
    object_of(
        {"id": TEXT, "turnId": TEXT, "role": {"enum": ["user", "assistant", "tool"]}, "createdAt": TIME},
        {
            "sessionId": TEXT,
            "clientId": {**TEXT, "description": "the id that a chat kit's client has given the message"},
            "parentTurnId": {
                **MAYBE_TEXT,
                "description": "with `branches=all`: the turn that the message's turn follows",
            },
            "content": TEXT,
            "toolCalls": {
                "type": "array",
                "items": Named("ToolCall", object_of({"id": TEXT, "name": TEXT, "arguments": TEXT})),
            },
            "toolCallId": TEXT,
            "knowledge": {"type": "array", "items": RETRIEVAL},
            "citations": {"type": "array", "items": _CITATION},
            "status": {"enum": ["complete", "partial"]},
            "failed": {"type": "boolean", "description": "true, of a tool's result: the tool has failed"},
            "empty": {
                "type": "boolean",
                "description": "true: the model answered nothing; no later prompt contains the message",
            },
        },
    ),
    {
        "id": "msg_01kb3c9w6n8r2t4v6x8z0b2d4f",
        "sessionId": "ses_01kb3c9w6n8r2t4v6x8z0b2d4a",
        "turnId": "trn_01kb3c9w6n8r2t4v6x8z0b2d4b",
        "role": "assistant",
        "content": "You have 30 days to send it back. [1]",
        "status": "complete",
        "createdAt": "2026-11-27T10:00:02.000Z",
    },
)
TURN_RESULT: Final = Named(
    "TurnResult",
    object_of(
        {
            "turnId": TEXT,
            "status": {"enum": ["completed", "cancelled"]},
            "finishReason": MAYBE_TEXT,
            "messages": {"type": "array", "items": MESSAGE},
            "usage": USAGE,
        }
    ),
)
TURN_ACCEPTED: Final = Named(
    "AcceptedTurn",
    object_of(
        {
            "turnId": TEXT,
            "sessionId": TEXT,
            "status": {"enum": ["queued", "running", "completed", "cancelled", "failed"]},
        }
    ),
)
DELETED: Final = Named("Deleted", object_of({"id": TEXT, "deleted": {"const": True}}))
