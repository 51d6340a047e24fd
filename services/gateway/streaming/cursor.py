"""Where a client wants its stream to continue: the id of the last frame that it received."""

from aiohttp import web

from services.gateway.edge.validation import refused
from shared.contracts.frames import FrameId


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
