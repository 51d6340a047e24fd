"""One model call: its stream is read into an answer. Every fault of the transport becomes a ModelFault."""

import asyncio
import codecs
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from services.agent_worker.model.answer import Answer
from services.agent_worker.model.chunks import BadChunk, load_body, load_chunk
from services.agent_worker.model.connection import TRANSPORT_FAULTS, UpstreamConnection
from services.agent_worker.model.faults import FaultKind, ModelFault
from services.agent_worker.model.patience import Patience
from services.agent_worker.model.quirks import Quirk
from services.agent_worker.model.sse import MAX_EVENT, EventSplitter, EventTooLong
from services.agent_worker.model.transport import body_of

# After the finish reason only the usage and `[DONE]` can follow, and after that only the end of the body, which frees
# the connection.
USAGE_TIMEOUT_S: Final = 5.0
END_TIMEOUT_S: Final = 0.05
DONE: Final = b"[DONE]"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sink:
    """Where an answer goes while it comes.

    `show` gets each piece of text, `reason` each piece of reasoning if anybody wants it. `backpressure` is awaited
    before each network read: it holds the answer back.
    """

    show: Callable[[str], None]
    backpressure: Callable[[], Awaitable[None]]
    reason: Callable[[str], None] | None = None


class ModelCall:
    """`run` is one request and its answer. `room`: characters after which the answer is cut off."""

    def __init__(self, connection: UpstreamConnection, model: str, answer: Answer, room: int, sink: Sink) -> None:
        self._connection = connection
        self._model = model
        self._answer = answer
        self._room = room
        self._sink = sink
        self._done = False
        self._first_token_by = asyncio.get_running_loop().time() + connection.timeouts.first_token_s

    async def run(self, request: dict[str, Any]) -> Answer:
        """Raises ModelFault."""
        answer = self._answer
        try:
            await self._read(request)
        except (ModelFault, BadChunk, EventTooLong) as error:
            if answer.has_reason and not answer.has_withheld_calls:
                return answer  # The answer is whole; only its usage may be missing.
            raise self._fault(error) from None
        self._show(answer.flush())
        if (
            not answer.has_reason
            and self._done
            and answer.text
            and self._connection.options.done_without_finish == "answer"
        ):
            answer.end_without_reason()
        if not answer.has_reason:
            raise self._fault(
                ModelFault("the stream ended without a finish reason", retryable=True, kind=FaultKind.CUT)
            )
        if answer.has_withheld_calls and not answer.text:
            raise self._fault(
                ModelFault("tool calls with an unknown finish reason", retryable=True, kind=FaultKind.BAD_STREAM)
            )
        return answer

    def _fault(self, error: Exception) -> ModelFault:
        if not isinstance(error, ModelFault):
            error = ModelFault(f"bad stream: {type(error).__name__}", retryable=True, kind=FaultKind.BAD_STREAM)
        error.after_text = bool(self._answer.text)
        return error

    async def _read(self, request: dict[str, Any]) -> None:
        try:
            async with (
                Patience(self._first_token_by) as patience,
                await self._connection.open(self._model, request) as stream,
            ):
                await self._read_events(body_of(stream.response), patience)
        except TimeoutError:
            if not self._done:
                raise ModelFault("timeout", retryable=True, kind=FaultKind.TIMEOUT) from None
        except TRANSPORT_FAULTS as error:
            raise ModelFault(type(error).__name__, retryable=True, kind=FaultKind.NETWORK) from None

    async def _read_events(self, body: aiohttp.StreamReader, patience: Patience) -> None:
        """As many chunks at a time as the network brings."""
        answer, splitter = self._answer, EventSplitter()
        piece = b"-"
        is_first = True
        while piece:
            patience.until(math.inf)
            await self._sink.backpressure()
            patience.until(self._due(patience.now()))
            piece = await body.readany()
            if is_first:
                piece = piece.removeprefix(codecs.BOM_UTF8)
                if piece.lstrip()[:1] in (b"{", b"["):
                    # No line of an event stream begins so, whatever the content type says.
                    await self._read_whole(body, piece, patience)
                    return
                is_first = not piece.strip()
            events = splitter.feed(piece) if piece else splitter.rest()
            if DONE in events:
                events = events[: events.index(DONE)]
                self._done = True
            for event in events:
                self._add(load_chunk(event))
            if answer.size > self._room:
                answer.cut()
                return

    async def _read_whole(self, body: aiohttp.StreamReader, begin: bytes, patience: Patience) -> None:
        """A JSON body in answer to `stream: true`: one completion, or an error."""
        pieces, size = [begin], len(begin)
        piece = b"-"
        while piece:
            patience.until(max(self._first_token_by, patience.now() + self._connection.timeouts.token_s))
            piece = await body.readany()
            pieces.append(piece)
            size += len(piece)
            if size > MAX_EVENT:
                raise EventTooLong
        self._answer.quirks.add(Quirk.WHOLE_BODY)
        await self._sink.backpressure()
        for chunk in load_body(b"".join(pieces)):
            self._add(chunk)
        if self._answer.size > self._room:
            self._answer.cut()

    def _add(self, chunk: dict[str, Any] | None) -> None:
        if chunk is None:
            self._answer.quirks.add(Quirk.NOISE)
            return
        text = self._answer.add(chunk)
        if self._sink.reason is not None and (thought := self._answer.take_reasoning()):
            self._sink.reason(thought)
        self._show(text)

    def _show(self, text: str) -> None:
        if text:
            self._sink.show(text)

    def _due(self, now: float) -> float:
        """Until when the next read may take: the silence that is still normal at this point of the answer."""
        token_s = self._connection.timeouts.token_s
        if self._done:
            return now + END_TIMEOUT_S
        if self._answer.has_reason:
            return now + min(USAGE_TIMEOUT_S, token_s)
        return now + token_s if self._answer.started else self._first_token_by
