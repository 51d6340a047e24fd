"""Pure: a turn's frames as the updates of a task.

An update with text is bytes around the text's JSON as it is in the frame: nothing is parsed or dumped per delta.
"""

from collections.abc import Sequence
from typing import Any, Final

from services.gateway.faces.a2a.errors import of_api
from services.gateway.faces.a2a.shapes import ARTIFACT, STATES, artifact_of, failure_message
from services.gateway.faces.a2a.wire import Wire
from services.gateway.streaming.renderer import PING, End, Rendered, Send
from shared.contracts.errors import ApiError
from shared.contracts.frames import StreamFrame, data_of, delta_text, json_line, published_delta
from shared.contracts.turns import Turn

_WORKING: Final = {"state": STATES["running"]}
# What a client may show of the agent's work, and which members of the frame it needs for that.
_ACTIVITIES: Final = {
    "kb_retrieval": ("query",),
    "tool_call": ("toolCallId", "name"),
    "tool_result": ("toolCallId", "name", "status"),
}


class TaskStream:
    """The renderer of a task. The first event is `task`; the answer is the artifact, appended piece by piece.

    The first piece of an attempt replaces what the artifact has. So does the first one of a stream, which lets a client
    that subscribes again begin anew. A stream that ends without a terminal state is broken off.
    """

    can_restart: Final = True

    def __init__(self, wire: Wire, turn: Turn, context_id: str, task: dict[str, Any]) -> None:
        self._wire = wire
        self._turn = turn
        self._names = {"taskId": turn.id, "contextId": context_id}
        self._task = task
        self._has_text = False
        head = wire.before + b'{"artifactUpdate":' + json_line(self._names)[:-1]
        tail = b',"artifact":{"artifactId":' + json_line(ARTIFACT) + b',"parts":[{"text":'
        self._first = head + tail
        self._next = head + b',"append":true' + tail
        self._after_text = b"}]}}}" + wire.after

    def start(self) -> bytes:
        return self._wire.event({"task": self._task})

    def frames(self, frames: Sequence[StreamFrame]) -> Rendered:
        parts: list[bytes] = []
        for frame in frames:
            text = delta_text(frame.data)
            if text is not None:
                parts.append(self._piece(text))
                continue
            if frame.is_terminal:
                return Rendered([*parts, *self._end(frame.event, data_of(frame.data))], End.CLEAN)
            parts += self._told(frame)
        return Rendered(parts)

    def fast_path(self, send: Send) -> Send:
        before, after = self._next, self._after_text

        def forward(frame: bytes) -> bool:
            delta = published_delta(frame) if self._has_text else None
            return delta is not None and send(b"".join((before, delta[0], after)))

        return forward

    def ping(self) -> bytes:
        return PING

    def interrupted(self) -> Rendered:
        return Rendered((), End.BROKEN)

    def failed(self, error: ApiError) -> Rendered:
        return Rendered([self._wire.error(of_api(error))], End.CLEAN)

    def _piece(self, text: bytes) -> bytes:
        before, self._has_text = self._next if self._has_text else self._first, True
        return before + text + self._after_text

    def _told(self, frame: StreamFrame) -> list[bytes]:
        event = frame.event
        if event == "started":
            return [self._status(_WORKING)]
        if event == "restarted":
            had_text, self._has_text = self._has_text, False
            return [self._first + b'""' + self._after_text] if had_text else []
        if event in _ACTIVITIES:
            data = data_of(frame.data)
            activity = {"type": event} | {name: data[name] for name in _ACTIVITIES[event]}
            return [self._status(_WORKING, {"activity": activity})]
        return []

    def _end(self, event: str, data: dict[str, Any]) -> list[bytes]:
        if event == "error":
            message = failure_message(self._turn.id, self._names["contextId"], data)
            return [self._status({"state": STATES["failed"], "message": message})]
        artifact = artifact_of(data["messages"])
        parts = []
        if artifact is not None:
            # The text has been sent: this ends the artifact, and brings the citations.
            last = {**artifact, "parts": [{"text": ""}]}
            parts.append(
                self._wire.event(
                    {"artifactUpdate": {**self._names, "append": True, "lastChunk": True, "artifact": last}}
                )
            )
        metadata = {name: data[name] for name in ("finishReason", "usage") if data.get(name) is not None}
        return [*parts, self._status({"state": STATES[data["status"]]}, metadata)]

    def _status(self, status: dict[str, Any], metadata: dict[str, Any] | None = None) -> bytes:
        update = {**self._names, "status": status} | ({"metadata": metadata} if metadata else {})
        return self._wire.event({"statusUpdate": update})
