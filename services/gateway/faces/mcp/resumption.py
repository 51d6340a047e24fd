"""GET `/mcp`: the rest of a call's stream, for a client of the handshake whose connection broke."""

from aiohttp import web

from services.gateway.call import Call
from services.gateway.edge.validation import refused
from services.gateway.faces.mcp.connections import Place
from services.gateway.faces.mcp.origins import refuse_foreign_page
from services.gateway.faces.mcp.progress import Asked, CallStream
from services.gateway.faces.mcp.versions import HANDSHAKE, Revision
from services.gateway.streaming.sse_response import stream_headers
from services.gateway.streaming.stream_session import StreamSession
from shared.contracts.errors import ApiError, Code
from shared.contracts.frames import FrameId, stream_frame
from shared.contracts.turns import ENDED, terminal_frame


async def resume(call: Call) -> web.StreamResponse:
    """Without `Last-Event-ID` it would be a stream for messages of the server's own, of which there are none."""
    refuse_foreign_page(call.request, call.dependencies.settings.public_url)
    place = _place(call.request)
    stored = await call.dependencies.history.turn(call.workspace, place.turn_id)
    turn = stored.turn
    if turn.session_id is None:
        raise ApiError(Code.TURN_NOT_FOUND)
    if call.request.method == "HEAD":
        return stream_headers()
    asked = Asked(Revision(HANDSHAKE[0]), place.request_id, place.token, place.progress)
    session = StreamSession(CallStream(asked, turn, place.after))
    end = FrameId(turn.attempt, stored.last_seq)
    with call.hold():
        if turn.status in ENDED and place.after >= end:
            last = stream_frame(*terminal_frame(turn, stored.output), end)
            return await session.replay(call.request, [last])
        async with call.dependencies.hub.listen(call.workspace, turn.id) as listener:
            return await session.follow(call.request, call.dependencies, call.workspace, turn, listener, place.after)


def _place(request: web.Request) -> Place:
    text = request.headers.get("Last-Event-ID")
    if not text:
        raise ApiError(
            Code.METHOD_NOT_ALLOWED,
            "Send requests with POST. GET continues a stream after the event that Last-Event-ID names.",
            headers={"Allow": "POST"},
        )
    place = Place.parse(text)
    if place is None:
        raise refused("Last-Event-ID", "is not the id of an event")
    return place
