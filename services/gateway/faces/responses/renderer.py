"""Pure: a turn's frames as the events of a response."""

from collections.abc import Sequence
from typing import Any, Final

from services.gateway.faces.responses.events import EventWriter, OpenMessage, call_events, search_events
from services.gateway.faces.responses.ids import item_id
from services.gateway.faces.responses.output import MESSAGE, SEARCH, Item, message_item, output_items, search_item
from services.gateway.faces.responses.shapes import ResponseShape
from services.gateway.streaming.renderer import PING, End, Rendered, Send
from shared.contracts.errors import ApiError
from shared.contracts.frames import StreamFrame, data_of, delta_text, json_line
from shared.contracts.turns import CompletionRequest, Turn

DONE: Final = b"data: [DONE]\n\n"
_ENDS: Final = {"completed": "response.completed"}


class ResponseStream:
    """The renderer of responses.

    A worker that dies while it writes leaves an item behind that ends as `incomplete`; the next attempt writes items
    of its own. The response that ends the stream has those of the last attempt only, as the stored turn does.

    `after`: the number of the last event that the client has. The log is then rendered from its beginning, and what
    the client has is left out. Where the log is gone, only the last event can be told, which holds the whole response.
    """

    can_restart: Final = True

    def __init__(
        self, turn: Turn, request: CompletionRequest | None, *, after: int = -1, shows_results: bool = False
    ) -> None:
        self._turn = turn
        self._shape = ResponseShape(turn, request)
        self._writer = EventWriter(after)
        self._shows_results = shows_results
        self._attempt = turn.attempt
        self._index = 0  # Of the next item in the stream.
        self._place = 0  # Of the next item in its attempt.
        self._open: OpenMessage | None = None

    def start(self) -> bytes:
        running = {"response": self._shape.running()}
        events = [self._writer.event(f"response.{kind}", running) for kind in ("created", "in_progress")]
        return b"".join(events)

    def frames(self, frames: Sequence[StreamFrame]) -> Rendered:
        parts: list[bytes] = []
        for frame in frames:
            self._attempt = frame.id.attempt if frame.id else self._attempt
            if (text := delta_text(frame.data)) is not None:
                # Without an id it is the whole text of a stored turn, whose items follow with the last frame.
                parts += self._delta(text) if frame.id is not None else ()
                continue
            event = frame.event
            if event == "done":
                return Rendered([*parts, *self._done(data_of(frame.data)), DONE], End.CLEAN)
            if event == "error":
                return Rendered([*parts, self._failed(data_of(frame.data)), DONE], End.CLEAN)
            parts += self._other(event, frame)
        return Rendered([part for part in parts if part])

    def fast_path(self, send: Send) -> Send:
        def forward(frame: bytes) -> bool:
            message, text = self._open, delta_text(frame)
            if message is None or text is None:
                return False
            event = message.delta(text)
            return not event or send(event)

        return forward

    def ping(self) -> bytes:
        return PING

    def interrupted(self) -> Rendered:
        """Without an event of its own: the client goes on after the last one that it has."""
        return Rendered((), End.BROKEN)

    def failed(self, error: ApiError) -> Rendered:
        shown = {"code": str(error.code), "message": error.detail, "param": error.param}
        return Rendered([self._writer.last("error", shown)], End.BROKEN)

    # --- frames

    def _other(self, event: str, frame: StreamFrame) -> list[bytes]:
        match event:
            case "restarted":
                return self._restart(data_of(frame.data), in_log=frame.id is not None)
            case "tool_call":
                return self._close()
            case "kb_retrieval":
                return [*self._close(), *self._search(data_of(frame.data))]
        return []

    def _delta(self, text: bytes) -> list[bytes]:
        if self._open is not None:
            return [self._open.delta(text)]
        message = self._open = OpenMessage(self._writer, self._next(MESSAGE), self._take_index())
        return [*message.opened(), message.delta(text)]

    def _restart(self, data: dict[str, Any], *, in_log: bool) -> list[bytes]:
        if not in_log and self._writer.is_behind:
            # The log is gone: nobody knows which of the next events the client has.
            self._writer.mute()
        voided = [self._open.void()] if self._open is not None else []
        self._open, self._place, self._attempt = None, 0, data["attempt"]
        return voided

    def _close(self) -> list[bytes]:
        """The open message is whole: something else follows. Its citations are known at the turn's end only."""
        if self._open is None:
            return []
        message, self._open = self._open, None
        return message.closed(message_item(message.item, {"content": message.text}))

    def _search(self, data: dict[str, Any]) -> list[bytes]:
        item = search_item(self._next(SEARCH), data, shows_results=self._shows_results)
        return search_events(self._writer, self._take_index(), item)

    # --- the end

    def _done(self, data: dict[str, Any]) -> list[bytes]:
        turn = self._turn.model_copy(update={"attempt": self._attempt})
        items = output_items(turn, data["messages"], data.get("finishReason"), shows_results=self._shows_results)
        parts = self._finish(items)
        response = self._shape.ended(data, items)
        kind = _ENDS.get(response["status"], "response.incomplete")
        return [*parts, self._writer.last(kind, {"response": response})]

    def _finish(self, items: Sequence[Item]) -> list[bytes]:
        """Closes the open message, and tells the items that no frame has told."""
        parts: list[bytes] = []
        if (message := self._open) is not None:
            self._open = None
            done = next((item for item in items if item["id"] == message.item), None)
            parts += [message.void()] if done is None else message.closed(done)
        for item in items[self._place :]:
            parts += self._whole(item)
        return [part for part in parts if part]

    def _whole(self, item: Item) -> list[bytes]:
        index = self._take_index()
        match item["type"]:
            case "function_call":
                return call_events(self._writer, index, item)
            case "file_search_call":
                return search_events(self._writer, index, item)
        message = OpenMessage(self._writer, item["id"], index)
        opened = message.opened()
        return [*opened, message.delta(json_line(item["content"][0]["text"])), *message.closed(item)]

    def _failed(self, problem: dict[str, Any]) -> bytes:
        return self._writer.last("response.failed", {"response": self._shape.failed(problem)})

    # --- counting

    def _next(self, prefix: str) -> str:
        item = item_id(prefix, self._turn.id, self._attempt, self._place)
        self._place += 1
        return item

    def _take_index(self) -> int:
        self._index += 1
        return self._index - 1
