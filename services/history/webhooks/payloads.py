"""Pure: what an event tells. Ids and numbers, never a text of a person or of a model: who may read those asks the API.

So a delivery that lies around, or in a receiver's log, holds nothing that an erasure would have to find.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson

from services.history.mongo.filters import Document
from shared.contracts.schema import rfc3339

# What the relay reads of each collection's documents.
READ: Final[dict[str, tuple[str, ...]]] = {
    "sessions": ("agentId", "agentVersion", "status", "createdAt", "endedAt", "endedReason", "turnCount"),
    "turns": (
        *("sessionId", "n", "agentId", "agentVersion", "status", "finishReason", "error", "usage", "createdAt"),
        *("endedAt", "feedback.messageId", "feedback.rating"),
    ),
    "sources": ("agentId", "state", "passageCount", "reason"),
    "agents": ("agentId",),
    "budgets": ("kind", "subjectId"),
}
_LAST: Final = "~"


class Place(NamedTuple):
    """Deliveries of one lane are sent one after the other, in the order of `rank`."""

    lane: str
    rank: str


def place_of(collection: str, row: Document, entry: Document) -> Place:
    """A session is a lane: its creation, its turns by number, feedback behind its turn, its end."""
    if collection == "sessions":
        return Place(row["_id"], "" if entry["type"] == "session.created" else _LAST)
    if collection == "turns" and row.get("sessionId") is not None:
        kind = "1" if entry["type"] == "message.feedback" else "0"
        return Place(row["sessionId"], f"{row['n']:010}.{kind}.{entry['id']}")
    return Place(row["_id"], entry["id"])


def payload(collection: str, row: Document, entry: Document) -> bytes:
    """The body of the request, as Standard Webhooks shapes it: `{"type", "timestamp", "data"}`."""
    data = {name: value for name, value in _DATA[collection](row, entry).items() if value is not None}
    return orjson.dumps({"type": entry["type"], "timestamp": rfc3339(entry["at"]), "data": data})


def _session(row: Document, entry: Document) -> dict[str, Any]:
    shared = {"sessionId": row["_id"], "agentId": row["agentId"], "agentVersion": row["agentVersion"]}
    if entry["type"] == "session.created":
        return {**shared, "createdAt": rfc3339(row["createdAt"])}
    ended = row.get("endedAt")
    return {
        **shared,
        "endedAt": rfc3339(ended) if ended is not None else None,
        "endedReason": row.get("endedReason"),
        "turnCount": row.get("turnCount"),
    }


def _turn(row: Document, entry: Document) -> dict[str, Any]:
    shared = {"turnId": row["_id"], "sessionId": row.get("sessionId"), "agentId": row["agentId"]}
    if entry["type"] == "message.feedback":
        feedback = row.get("feedback") or {}
        return {**shared, "messageId": feedback.get("messageId"), "rating": feedback.get("rating")}
    error = row.get("error")
    return {
        **shared,
        "agentVersion": row["agentVersion"],
        "status": row["status"],
        "finishReason": row.get("finishReason"),
        "error": {"code": error.get("code")} if isinstance(error, Mapping) else None,
        "usage": row.get("usage"),
        "createdAt": rfc3339(row["createdAt"]),
        "endedAt": rfc3339(row["endedAt"]) if row.get("endedAt") is not None else None,
    }


def _source(row: Document, entry: Document) -> dict[str, Any]:
    return {
        "sourceId": row["_id"],
        "agentId": row["agentId"],
        "passages": row.get("passageCount"),
        "reason": entry.get("details", {}).get("reason"),
    }


def _agent(row: Document, entry: Document) -> dict[str, Any]:
    return {"agentId": row["agentId"], "agentVersion": entry["details"]["version"]}


def _budget(row: Document, entry: Document) -> dict[str, Any]:
    """An end user's budget does not say whose it is."""
    is_named = row["kind"] not in ("workspace", "endUser")
    subject = f"{row['kind']}:{row['subjectId']}" if is_named else row["kind"]
    return {"subject": subject, **entry["details"]}


_DATA: Final = {"sessions": _session, "turns": _turn, "sources": _source, "agents": _agent, "budgets": _budget}
