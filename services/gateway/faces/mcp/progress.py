"""Pure: the stream of one call: notifications of its progress, then its result."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from services.gateway.faces.json_rpc import INTERNAL_ERROR, RpcError, RpcId
from services.gateway.faces.mcp.connections import Place, ProgressToken
from services.gateway.faces.mcp.tools import result_of
from services.gateway.faces.mcp.versions import Revision
from services.gateway.streaming.renderer import PING, End, Rendered, Send
from shared.contracts.errors import ApiError, Code
from shared.contracts.frames import BEGINNING, FrameId, StreamFrame, data_of, delta_text, json_line, published_delta
from shared.contracts.turns import Turn

# Progress is told once per so many bytes of text, which is about once in 60 tokens.
STEP: Final = 256
MAX_MESSAGE: Final = 200


class Asked(NamedTuple):
    """The call whose stream it is. `progress`: how many notifications its client has received already."""

    revision: Revision
    request_id: RpcId
    token: ProgressToken | None
    progress: int = 0


class CallStream:
    """The renderer of a call. Its text comes with the result, so a lost attempt takes nothing back.

    A client of the handshake gets ids of events and continues after them. Without them, a stream that cannot go on ends
    with an error.
    """

    can_restart: Final = True

    def __init__(self, asked: Asked, turn: Turn, after: FrameId = BEGINNING) -> None:
        self._asked = asked
        self._turn = turn
        self._after = after
        self._progress = asked.progress
        self._written = 0

    def start(self) -> bytes:
        """An event without data, so that a client whose connection breaks at once can ask for the rest."""
        return b"data: \n" + self._event_id() + b"\n" if self._asked.revision.can_resume else b""

    def frames(self, frames: Sequence[StreamFrame]) -> Rendered:
        parts: list[bytes] = []
        for frame in frames:
            if frame.id is not None:
                self._after = frame.id
            if frame.is_terminal:
                return Rendered([*parts, self._result(frame)], End.CLEAN)
            message = self._message(frame)
            if message is not None and self._asked.token is not None:
                parts.append(self._notification(message))
        return Rendered(parts)

    def fast_path(self, send: Send) -> Send:
        """Counts text, and sends none of it. Once per step the slow way tells the progress, or keeps the line alive."""

        def count(frame: bytes) -> bool:
            delta = published_delta(frame)
            if delta is None or not self._written or self._written % STEP + len(delta[0]) >= STEP:
                return False
            self._written += len(delta[0])
            return True

        return count

    def ping(self) -> bytes:
        return PING

    def interrupted(self) -> Rendered:
        if self._asked.revision.can_resume:
            return Rendered((), End.CLEAN)  # The client asks for the rest at another gateway.
        return self.failed(
            ApiError(
                Code.DRAINING,
                "The server is shutting down. The turn goes on; its answer will be in the session's messages.",
                members=self._names(),
            )
        )

    def failed(self, error: ApiError) -> Rendered:
        problem = error.problem() | self._names()
        answer = RpcError(INTERNAL_ERROR, error.detail, problem, request_id=self._asked.request_id)
        return Rendered([self._event(answer.wire())], End.CLEAN)

    def _names(self) -> dict[str, Any]:
        return {"turnId": self._turn.id, "sessionId": self._turn.session_id}

    def _message(self, frame: StreamFrame) -> str | None:
        """What a person is told of a frame; None for frames that are no progress."""
        text = delta_text(frame.data)
        if text is not None:
            before, self._written = self._written, self._written + len(text)
            return "Writing the answer" if before // STEP < self._written // STEP or not before else None
        match frame.event:
            case "started":
                return "The agent has started"
            case "restarted":
                return "The agent starts again"
            case "kb_retrieval":
                return f"Searching for: {data_of(frame.data)['query']}"
            case "tool_call":
                return f"Calling {data_of(frame.data)['name']}"
        return None

    def _notification(self, message: str) -> bytes:
        self._progress += 1
        params = {"progressToken": self._asked.token, "progress": self._progress, "message": message[:MAX_MESSAGE]}
        return self._event({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})

    def _result(self, frame: StreamFrame) -> bytes:
        value = result_of(self._turn.session_id or "", frame.event, data_of(frame.data))
        return self._event(
            {"jsonrpc": "2.0", "id": self._asked.request_id, "result": self._asked.revision.result(value)}
        )

    def _event(self, message: dict[str, Any]) -> bytes:
        event_id = self._event_id() if self._asked.revision.can_resume else b""
        return b"event: message\ndata: " + json_line(message) + b"\n" + event_id + b"\n"

    def _event_id(self) -> bytes:
        place = Place(self._turn.id, self._after, self._asked.request_id, self._asked.token, self._progress)
        return b"id: " + place.event_id.encode() + b"\n"
