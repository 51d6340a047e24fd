"""Calls of models, over OpenAI's wire protocol. The only importer of openai; it owns the retries of model calls."""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import httpx2
import openai
import orjson
from openai import AsyncStream, RequestOptions
from openai._models import FinalRequestOptions

from services.agent_worker.metrics import MODEL_CALLS
from services.agent_worker.model.answer import Answer, BadChunk, load_chunk
from services.agent_worker.model.sse import EventSplitter, EventTooLong
from services.agent_worker.model.transport import AiohttpTransport, body_of
from services.agent_worker.settings import Upstream
from shared.contracts.agents import ModelChoice
from shared.contracts.errors import Code
from shared.log import get_logger

log = get_logger()

BACKOFF_S: Final = 0.25
MAX_RETRY_AFTER_S: Final = 5.0
# After the finish reason only the usage and `[DONE]` can follow, and after that only the end of the body, which frees the connection.
USAGE_TIMEOUT_S: Final = 5.0
END_TIMEOUT_S: Final = 0.05
LOOK_S: Final = 5.0
_FAULTS: Final = (
    openai.OpenAIError,
    httpx2.HTTPError,
    httpx2.StreamError,
    httpx2.InvalidURL,
    aiohttp.ClientError,
    OSError,
)


# What the client tells of this machine, to no one's use: half of all headers.
_UNTOLD: Final[Any] = {
    f"X-Stainless-{name}": openai.Omit()
    for name in ("Arch", "Async", "Lang", "OS", "Package-Version", "Runtime", "Runtime-Version")
}
# Said by each call: for an option that is left open the client copies a default, by pickle's ways.
_OPTIONS: Final[RequestOptions] = {"headers": {}, "max_retries": 0, "timeout": None}


class ModelFault(Exception):
    """A model call has failed. `retryable`: the same model may do better; `after_text`: the client has seen part of the answer."""

    def __init__(self, reason: str, *, retryable: bool, after_text: bool = False, retry_after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.code = Code.UPSTREAM_ERROR
        self.reason = reason
        self.retryable = retryable
        self.after_text = after_text
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeouts:
    connect_s: float = 5.0
    first_token_s: float = 60.0
    token_s: float = 30.0


class Models:
    """The upstreams that workers may call, one client each. Cancelling a call closes its connection, which stops the model."""

    def __init__(
        self, upstreams: Mapping[str, Upstream], timeouts: Timeouts, *, tries: int = 3, connections: int = 256
    ) -> None:
        self._timeouts = timeouts
        self._tries = tries
        self._clients = {name: _client(upstream, timeouts, connections) for name, upstream in upstreams.items()}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients.values():
            await client.close()

    async def answer(
        self,
        choices: Sequence[ModelChoice],
        request: dict[str, Any],
        *,
        room: int,
        id_stem: str,
        show: Callable[[str], None],
        backpressure: Callable[[], Awaitable[None]],
    ) -> Answer:
        """One model call, by the first of `choices` that does it. Raises ModelFault.

        `show` gets each piece of text as it comes; `backpressure` is awaited before each network read: it holds the answer back. Until
        something was shown a fault costs a retry, then the next model, and nobody sees it. `room`: where the answer is cut off.
        """
        fault = ModelFault("no model is configured", retryable=False)
        for choice in choices:
            for attempt in range(self._tries):
                try:
                    answer = await self._try(choice, request, Answer(id_stem), room, show, backpressure)
                except ModelFault as caught:
                    fault = caught
                    MODEL_CALLS.labels("fault").inc()
                    log.warning(
                        "model_fault",
                        upstream=choice.upstream,
                        model=choice.name,
                        reason=fault.reason,
                        after_text=fault.after_text,
                    )
                    if fault.after_text:
                        raise
                    if not fault.retryable or fault.retry_after_s > MAX_RETRY_AFTER_S:
                        break
                    if attempt + 1 < self._tries:
                        await asyncio.sleep(_pause_s(attempt, fault))
                else:
                    MODEL_CALLS.labels("ok").inc()
                    return answer
        raise fault

    async def _try(
        self,
        choice: ModelChoice,
        request: dict[str, Any],
        answer: Answer,
        room: int,
        show: Callable[[str], None],
        backpressure: Callable[[], Awaitable[None]],
    ) -> Answer:
        try:
            await self._read(choice, request, answer, room, show, backpressure)
        except (ModelFault, BadChunk, EventTooLong) as error:
            if answer.has_reason:
                return answer  # The answer is whole; only its usage may be missing.
            fault = (
                error
                if isinstance(error, ModelFault)
                else ModelFault(f"bad stream: {type(error).__name__}", retryable=True)
            )
            fault.after_text = bool(answer.text)
            raise fault from None
        if text := answer.flush():
            show(text)
        if not answer.has_reason:
            raise ModelFault("the stream ended without a finish reason", retryable=True, after_text=bool(answer.text))
        return answer

    async def _read(
        self,
        choice: ModelChoice,
        request: dict[str, Any],
        answer: Answer,
        room: int,
        show: Callable[[str], None],
        backpressure: Callable[[], Awaitable[None]],
    ) -> None:
        """Adds one streamed answer's chunks, as many at a time as the network brings. Every transport fault becomes a ModelFault."""
        splitter = EventSplitter()
        first_token_by = asyncio.get_running_loop().time() + self._timeouts.first_token_s
        done = False
        try:
            async with Patience(first_token_by) as patience, await self._call(choice, request) as stream:
                body = body_of(stream.response)
                piece = b"-"
                while piece:
                    patience.until(math.inf)
                    await backpressure()
                    patience.until(self._patience(answer, done, first_token_by, patience.now()))
                    piece = await body.readany()
                    events = splitter.feed(piece) if piece else splitter.rest()
                    if b"[DONE]" in events:
                        events = events[: events.index(b"[DONE]")]
                        done = True
                    for event in events:
                        _add(event, answer, show)
                    if answer.size > room:
                        answer.cut()
                        break
        except TimeoutError:
            if not done:
                raise ModelFault("timeout", retryable=True) from None
        except openai.APIStatusError as error:
            raise _status_fault(error) from None
        except _FAULTS as error:
            raise ModelFault(type(error).__name__, retryable=True) from None

    async def _call(self, choice: ModelChoice, request: dict[str, Any]) -> AsyncStream[Any]:
        """The answer's headers are there, and nothing of its body is read."""
        client = self._clients.get(choice.upstream)
        if client is None:
            raise ModelFault("the upstream is not configured", retryable=False)
        # Not `chat.completions.create`, which compares each member of each message with every type of message there is (6 ms for 22 of
        # them) and costs half as much again even without any.
        body = orjson.dumps(
            {"model": choice.name, "stream": True, "stream_options": {"include_usage": True}, **request}
        )
        return await client.post(
            "/chat/completions",
            content=body,
            cast_to=object,
            options=_OPTIONS,
            stream=True,
            stream_cls=AsyncStream[Any],
        )

    def _patience(self, answer: Answer, done: bool, first_token_by: float, now: float) -> float:
        """Until when the next read may take: the silence that is still normal at this point of the answer."""
        if done:
            return now + END_TIMEOUT_S
        if answer.has_reason:
            return now + min(USAGE_TIMEOUT_S, self._timeouts.token_s)
        return now + self._timeouts.token_s if answer.started else first_token_by


class Patience:
    """A timeout that is moved at every read, and so costs nothing to move: only when its timer fires does it look whether it is due.

    Raises TimeoutError from the block; `until` takes the loop's time.
    """

    def __init__(self, due: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit = asyncio.timeout(None)
        self._due = due
        self._arm(due)

    def now(self) -> float:
        return self._loop.time()

    def until(self, due: float) -> None:
        self._due = due
        if due < self._fires_at:
            self._timer.cancel()
            self._arm(due)

    def _arm(self, at: float) -> None:
        # Noted here: for a time that has come already uvloop gives a handle that does not know its time.
        self._fires_at = at
        self._timer = self._loop.call_at(at, self._look)

    def _look(self) -> None:
        now = self._loop.time()
        if now >= self._due:
            self._limit.reschedule(now)
        else:
            self._arm(min(self._due, now + LOOK_S))

    async def __aenter__(self) -> Self:
        await self._limit.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._limit.__aexit__(kind, error, trace)


def _add(event: bytes, answer: Answer, show: Callable[[str], None]) -> None:
    """One chunk. Raises ModelFault, BadChunk."""
    chunk = load_chunk(event)
    if chunk.get("error"):
        raise ModelFault("error inside the stream", retryable=_is_passing(chunk["error"]))
    if text := answer.add(chunk):
        show(text)


class _Client(openai.AsyncOpenAI):
    """Puts the address and the headers together once: they are the same for each call, and were a third of its cost.

    `_build_request` is where the library's own variants, such as the one for Azure, differ from each other too.
    """

    _common: tuple[httpx2.URL, httpx2.Headers] | None = None

    def _build_request(self, options: FinalRequestOptions, *, retries_taken: int = 0) -> httpx2.Request:
        if self._common is None:
            first = super()._build_request(options, retries_taken=retries_taken)
            del first.headers["Content-Length"]
            self._common = first.url, first.headers
        url, headers = self._common
        assert isinstance(options.content, bytes)
        return httpx2.Request(options.method, url, headers=headers, content=options.content)


def _client(upstream: Upstream, timeouts: Timeouts, connections: int) -> _Client:
    # Reads are timed here, not there: what is normal depends on how far the answer has come.
    timeout = httpx2.Timeout(None)
    transport = AiohttpTransport(upstream.base_url, connect_s=timeouts.connect_s, connections=connections)
    http_client = httpx2.AsyncClient(transport=transport, timeout=timeout, follow_redirects=True)
    # The client insists on a key; servers without keys ignore it. It would name itself by its class.
    key = upstream.api_key.get_secret_value() or "none"
    headers = {**_UNTOLD, "User-Agent": f"AsyncOpenAI/Python {openai.__version__}"}
    return _Client(
        base_url=upstream.base_url,
        api_key=key,
        max_retries=0,
        timeout=timeout,
        http_client=http_client,
        default_headers=headers,
    )


def _pause_s(attempt: int, fault: ModelFault) -> float:
    """Exponential with full jitter; never shorter than what the model asks for."""
    return max(fault.retry_after_s, BACKOFF_S * (1 << attempt) * random.uniform(0.5, 1.5))


def _status_fault(error: openai.APIStatusError) -> ModelFault:
    """429 and 5xx pass; a refusal does not. A model that wants us to wait for long is left for the next."""
    status = int(error.status_code)
    # The other form of the header, a date, is not worth its parsing here.
    header = str(error.response.headers.get("retry-after", ""))
    retry_after_s = float(header) if header.isdecimal() else 0.0
    passing = status in (408, 409, 429) or status >= 500
    return ModelFault(f"HTTP {status}", retryable=passing, retry_after_s=retry_after_s)


def _is_passing(error: Any) -> bool:
    """Whether an error object inside a stream tells of something that may pass: by its code where that is an HTTP status."""
    code = error.get("code") if isinstance(error, dict) else None
    return not (isinstance(code, int) and 400 <= code < 500 and code not in (408, 409, 429))
