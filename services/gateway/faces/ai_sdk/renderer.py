"""Pure: a turn's frames as the chunks of the UI message stream.

A chunk of text is bytes put around the text's JSON as it is in the frame: nothing is parsed or dumped per delta.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from services.gateway.faces.ai_sdk.parts import (
    Part,
    answer_parts,
    call_input,
    end_metadata,
    finish_reason,
    source_parts,
    start_metadata,
)
from services.gateway.faces.call_ids import CallIds
from services.gateway.streaming.renderer import PING, End, Rendered, Send
from shared.contracts.errors import ApiError
from shared.contracts.frames import StreamFrame, data_of, delta_text, json_line
from shared.contracts.turns import Turn

HEADERS: Final = {"x-vercel-ai-ui-message-stream": "v1"}
DONE: Final = b"data: [DONE]\n\n"
_SERVER: Final = {"providerExecuted": True, "dynamic": True}


def chunk(kind: str, **members: Any) -> bytes:
    return b"data: " + json_line({"type": kind, **members}) + b"\n\n"


class UiMessageStream:
    """`resets`: the client knows `reset-step` (ai@7), which takes back what was shown of an attempt that is void.

    Nothing does so in ai@5 and 6: there the connection is broken off, and the client gets the whole turn again when it
    resumes. A stream that is not whole is never ended cleanly without an `error`: clients would take it for whole.
    """

    can_restart: Final = False

    def __init__(self, turn: Turn, *, resets: bool = False, first: Iterable[bytes] = ()) -> None:
        self.turn = turn
        self._resets = resets
        self._first = tuple(first)
        self._begin()

    def _begin(self) -> None:
        self._shown = False
        self._open: str | None = None
        self._count = 0
        self._ids = CallIds()

    def start(self) -> bytes:
        metadata = start_metadata(self.turn)
        opening = chunk("start", messageId=self.turn.id, messageMetadata=metadata)
        return b"".join((opening, *self._first, chunk("start-step")))

    def frames(self, frames: Sequence[StreamFrame]) -> Rendered:
        last = max((index for index, frame in enumerate(frames) if frame.event == "restarted"), default=None)
        if last is None:
            return self._rendered(frames, [])
        if self._shown and not self._resets:
            return Rendered((), End.BROKEN)
        void = [chunk("reset-step")] if self._shown else []
        self._begin()
        if data_of(frames[last].data)["reason"] == "log_expired" and frames[-1].event == "done":
            # The stored turn follows: its messages say more than the frames before its end.
            return Rendered([*void, *self._finish("done", data_of(frames[-1].data), is_stored=True)], End.CLEAN)
        return self._rendered(frames[last + 1 :], void)

    def _rendered(self, frames: Sequence[StreamFrame], parts: list[bytes]) -> Rendered:
        for frame in frames:
            if frame.is_terminal:
                return Rendered([*parts, *self._finish(frame.event, data_of(frame.data))], End.CLEAN)
            if (text := delta_text(frame.data)) is not None:
                parts += self._text("text", text)
            else:
                parts += self._other(frame)
        return Rendered(parts)

    def fast_path(self, send: Send) -> Send:
        def forward(frame: bytes) -> bool:
            if self._open != "text" or (text := delta_text(frame)) is None:
                return False
            return send(b"".join((self._before_text, text, b"}\n\n")))

        return forward

    def ping(self) -> bytes:
        return PING

    def interrupted(self) -> Rendered:
        return Rendered((), End.BROKEN)

    def failed(self, error: ApiError) -> Rendered:
        return Rendered([*self._close(), chunk("error", errorText=_error_text(error.problem())), DONE], End.CLEAN)

    def _text(self, kind: str, text: bytes) -> list[bytes]:
        """A piece of the answer or of the model's reasoning; it opens a part where none of its kind is open."""
        opening = list[bytes]()
        if self._open != kind:
            opening = self._close()
            self._count += 1
            self._shown, self._open = True, kind
            self._before_text = b'data: {"type":"%b-delta","id":"%d","delta":' % (kind.encode(), self._count)
            opening.append(chunk(f"{kind}-start", id=str(self._count)))
        return [*opening, self._before_text + text + b"}\n\n"]

    def _close(self) -> list[bytes]:
        closing = [] if self._open is None else [chunk(f"{self._open}-end", id=str(self._count))]
        self._open = None
        return closing

    def _other(self, frame: StreamFrame) -> list[bytes]:
        event = frame.event
        if event == "reasoning":
            return self._text("reasoning", json_line(data_of(frame.data)["text"]))
        if event == "tool_call":
            data = data_of(frame.data)
            return self._call(self._ids.opened(data["toolCallId"]), data["name"], call_input(data["arguments"]))
        if event == "tool_result":
            data = data_of(frame.data)
            return [_result(self._ids.of(data["toolCallId"]), data["result"], failed=data["status"] == "error")]
        return []

    def _call(self, call_id: str, name: str, value: Any) -> list[bytes]:
        closing, self._shown = self._close(), True
        return [*closing, chunk("tool-input-available", toolCallId=call_id, toolName=name, input=value, **_SERVER)]

    def _finish(self, event: str, data: dict[str, Any], *, is_stored: bool = False) -> list[bytes]:
        if event == "error":
            told = chunk("message-metadata", messageMetadata=end_metadata(data))
            return [*self._close(), told, chunk("error", errorText=_error_text(data)), DONE]
        missing = answer_parts(data["messages"]) if is_stored else source_parts(data["messages"])
        parts = [*self._close(), *self._whole(missing)]
        parts.append(chunk("finish-step"))
        if data["status"] == "cancelled":
            ending = [chunk("message-metadata", messageMetadata=end_metadata(data)), chunk("abort")]
        else:
            ending = [chunk("finish", finishReason=finish_reason(data), messageMetadata=end_metadata(data))]
        return [*parts, *ending, DONE]

    def _whole(self, parts: Iterable[Part]) -> list[bytes]:
        """Parts of a stored message."""
        rendered = list[bytes]()
        for part in parts:
            if part["type"] == "text":
                rendered += [*self._text("text", json_line(part["text"])), *self._close()]
            elif part["type"] == "dynamic-tool":
                rendered += self._call(part["toolCallId"], part["toolName"], part["input"])
                if part["state"] == "output-available":
                    rendered.append(_result(part["toolCallId"], part["output"], failed=False))
                elif part["state"] == "output-error":
                    rendered.append(_result(part["toolCallId"], part["errorText"], failed=True))
            elif part["type"].startswith("source-"):
                rendered.append(b"data: " + json_line(part) + b"\n\n")
        return rendered


def _result(call_id: str, text: str, *, failed: bool) -> bytes:
    if failed:
        return chunk("tool-output-error", toolCallId=call_id, errorText=text, **_SERVER)
    return chunk("tool-output-available", toolCallId=call_id, output=text, **_SERVER)


def _error_text(problem: dict[str, Any]) -> str:
    return str(problem.get("detail") or problem.get("title") or "The turn has failed.")
