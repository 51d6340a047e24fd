"""Where a client wants its stream to continue: the id of the last frame that it received."""

from typing import Final

from aiohttp import web

from services.gateway.edge.route import Param
from services.gateway.edge.validation import refused
from shared.contracts.frames import FrameId

FRAME_ID: Final = {"type": "string", "pattern": "^[1-9][0-9]{0,9}-[1-9][0-9]{0,9}$"}
LAST_EVENT_ID: Final = Param(
    "Last-Event-ID", FRAME_ID, "the last frame that was received; the stream goes on after it", "header"
)
REPEAT_FROM: Final = Param(
    "Last-Event-ID",
    FRAME_ID,
    "on a repeat with the same Idempotency-Key: the stream goes on after this frame",
    "header",
)
LAST_EVENT_ID_QUERY: Final = Param("lastEventId", FRAME_ID, "as `Last-Event-ID`, for browsers")


def last_event_id(request: web.Request) -> FrameId | None:
    """The `Last-Event-ID` header. Raises `invalid_request`."""
    text = request.headers.get("Last-Event-ID")
    return frame_id(text, "Last-Event-ID") if text else None


def last_event_id_or_query(request: web.Request) -> FrameId | None:
    """The header, else `?lastEventId=`: a browser's EventSource cannot set the header on its first request."""
    text = request.query.get("lastEventId")
    return last_event_id(request) or (frame_id(text, "lastEventId") if text else None)


def frame_id(text: str, name: str) -> FrameId:
    try:
        return FrameId.parse(text)
    except ValueError:
        raise refused(name, "is not the id of a frame") from None
