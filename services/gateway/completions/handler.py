"""`POST /chat/completions`: a turn without a session, told in OpenAI's shapes."""

import hashlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

from aiohttp import web

from services.gateway.completions.chunks import ChunkStream, End, Rendered, answer_text, completion_shape, error_chunk
from services.gateway.completions.request import ChatCompletion, parse_completion
from services.gateway.dependencies import Dependencies
from services.gateway.edge.replies import failed_turn
from services.gateway.edge.route import Call
from services.gateway.edge.validation import idempotency_key, refused
from services.gateway.streaming.admission import Admission, admission
from services.gateway.streaming.disconnects import CallerGone
from services.gateway.streaming.follow import Forward, Interrupted, outcome
from services.gateway.streaming.follow import follow as follow_frames
from services.gateway.streaming.hub import Listener
from services.gateway.streaming.sse_response import EventStream
from shared.contracts.errors import ApiError, Code
from shared.contracts.frames import StreamFrame
from shared.contracts.turns import AdmitTurn, Turn, terminal_frame
from shared.ids import is_id, new_id
from shared.log import get_logger
from shared.web.bodies import json_response, read_json

log = get_logger()


async def create(call: Call) -> web.StreamResponse:
    body, ignored = parse_completion(await read_json(call.request))
    key = idempotency_key(call.request)
    if not is_id("agt", body.model):
        raise ApiError(Code.MODEL_NOT_FOUND, param="model")
    await _refuse_unanswerable(call, body)
    order = AdmitTurn(
        turn_id=new_id("trn"),
        agent_id=body.model,
        messages=body.stored_messages(datetime.now(UTC)),
        idempotency_key=key,
        body_digest=body.digest(),
        completion=body.completion(),
        retry_key=_retry_key(call, body) if key is None and call.principal.retry_guard else None,
        is_retry=_is_retry(call.request),
    )
    with call.dependencies.limits.hold(call.principal.key_id):
        try:
            async with admission(call.dependencies, call.workspace, order) as accepted:
                return await _answer(call, body, accepted, ignored)
        except ApiError as error:
            error.param = "model" if error.code is Code.MODEL_NOT_FOUND else error.param
            raise


def _retry_key(call: Call, body: ChatCompletion) -> str:
    """What a blind repeat of an SDK has in common with what it repeats: neither names the other."""
    return hashlib.sha256(f"{call.principal.key_id} {body.model} {body.digest()}".encode()).hexdigest()


def _is_retry(request: web.Request) -> bool:
    """OpenAI's SDKs count their own repeats; they send no idempotency key by themselves."""
    count = request.headers.get("x-stainless-retry-count", "0")
    return count.isascii() and count.isdecimal() and count.strip("0") != ""


async def _refuse_unanswerable(call: Call, body: ChatCompletion) -> None:
    """Refuses what the agent could not answer, before the turn exists. Only rare requests need a look at the agent for this."""
    format_matters = body.response_format is not None and body.response_format["type"] != "text"
    if not format_matters and not body.says_nothing:
        return
    try:
        agent = await call.dependencies.history.published_agent(call.workspace, body.model)
    except ApiError as error:
        raise (ApiError(Code.MODEL_NOT_FOUND, param="model") if error.code is Code.AGENT_NOT_FOUND else error) from None
    rules, number = call.dependencies.agents, agent.published_version or 0
    if body.says_nothing and not await rules.has_instructions(call.workspace, agent.id, number):
        raise refused("messages", "must hold text, because the agent has no instructions")
    # A caller that asks for JSON cannot use prose.
    if format_matters and await rules.refused(call.workspace, agent.id, number, {"response_format"}):
        raise refused("response_format", "cannot be chosen by callers of this agent")


async def _answer(call: Call, body: ChatCompletion, accepted: Admission, ignored: list[str]) -> web.StreamResponse:
    turn = accepted.turn
    not_taken = await call.dependencies.agents.refused(
        call.workspace, turn.agent_id, turn.agent_version, set(body.parameters())
    )
    names = sorted({*ignored, *not_taken})
    headers = {"x-parley-ignored": ", ".join(names)} if names else {}
    if accepted.ended:
        return await _replay(call, body, accepted, headers)
    work = _stream(call, body, accepted, headers) if body.stream else _whole(call, accepted, headers)
    if not _cancels(call, body):
        return await work
    try:
        return await call.dependencies.disconnects.unless_gone(call.request, work)
    except CallerGone:
        await _cancel(call.dependencies, call.workspace, turn)
        return web.Response(status=499)


def _cancels(call: Call, body: ChatCompletion) -> bool:
    """Whether the turn is of no use once its caller is gone: not when the caller can come back for it."""
    comes_back = body.store or "Idempotency-Key" in call.request.headers or call.principal.retry_guard
    return call.dependencies.settings.cancel_on_disconnect and not comes_back


async def _cancel(dependencies: Dependencies, workspace: str, turn: Turn) -> None:
    try:
        await dependencies.history.cancel(workspace, turn.id)
        log.info("completion_abandoned", turn_id=turn.id)
    except ApiError as error:
        # It costs the tokens of one answer; its deadline ends it.
        log.warning("cancel_failed", turn_id=turn.id, code=str(error.code))


async def _whole(call: Call, accepted: Admission, headers: dict[str, str]) -> web.StreamResponse:
    event, data = await outcome(call.dependencies, call.workspace, accepted.turn.id, accepted.listener)
    if event == "error":
        raise failed_turn(data)
    return json_response(completion_shape(accepted.turn, data), headers=headers)


async def _replay(call: Call, body: ChatCompletion, accepted: Admission, headers: dict[str, str]) -> web.StreamResponse:
    """A repeated request whose turn has ended: from the stored turn, without its log."""
    event, data = terminal_frame(accepted.turn, accepted.answer.output)
    if event == "error":
        raise failed_turn(data)
    if not body.stream:
        return json_response(completion_shape(accepted.turn, data), headers=headers)
    chunks = ChunkStream(accepted.turn, include_usage=body.include_usage)
    stream = await EventStream.start(call.request, headers)
    try:
        await stream.end(chunks.role() + chunks.text(answer_text(data["messages"])) + chunks.finish(data, None))
    except (ConnectionError, TimeoutError) as error:
        log.debug("caller_gone", error=type(error).__name__)
        stream.abort()
    return stream.response


async def _stream(call: Call, body: ChatCompletion, accepted: Admission, headers: dict[str, str]) -> web.StreamResponse:
    chunks = ChunkStream(accepted.turn, include_usage=body.include_usage)
    start = CatchUp(accepted.listener)

    def frames(forward: Forward) -> AsyncIterator[list[StreamFrame]]:
        return start.of(
            follow_frames(
                call.dependencies, call.workspace, accepted.turn.id, accepted.listener, forward=start.guard(forward)
            )
        )

    return await send_chunks(call, chunks, frames, headers, comes_back=not _cancels(call, body))


class CatchUp:
    """For a reader who has nothing yet: what the log holds by now as one batch, however many pages it is.

    An attempt that was given up before the reader came is thus seen together with the restart that voids it, and not told.
    Nothing is forwarded meanwhile: it would overtake what is held back here.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._log_so_far: list[StreamFrame] | None = []

    def guard(self, forward: Forward) -> Forward:
        return lambda frame: self._log_so_far is None and forward(frame)

    async def of(self, frames: AsyncIterator[list[StreamFrame]]) -> AsyncIterator[list[StreamFrame]]:
        async for batch in frames:
            if self._log_so_far is not None:
                self._log_so_far += batch
                if batch and self._listener.gap:
                    continue  # Another page follows.
                batch, self._log_so_far = self._log_so_far, None
            yield batch
        if self._log_so_far:
            yield self._log_so_far  # The last page was full to its last frame, the terminal one.


async def send_chunks(
    call: Call,
    chunks: ChunkStream,
    frames: Callable[[Forward], AsyncIterator[list[StreamFrame]]],
    headers: dict[str, str],
    *,
    comes_back: bool,
) -> web.StreamResponse:
    """The whole answer of a stream of chunks: the role at once, text as it comes, and an end that says whether it is whole.

    Raises CallerGone when the caller stops reading and nobody will come back for the turn.
    """
    stream = await EventStream.start(call.request, headers)

    def forward(frame: bytes) -> bool:
        chunk = chunks.published(frame)
        return chunk is not None and stream.send_now(chunk)

    try:
        await stream.send(chunks.role())
        if await _send_all(stream, chunks, frames(forward)) is End.BROKEN:
            stream.break_off()
    except (ConnectionError, TimeoutError) as error:
        log.debug("caller_gone", error=type(error).__name__)
        stream.abort()
        if not comes_back:
            raise CallerGone from None
    return stream.response


async def _send_all(stream: EventStream, chunks: ChunkStream, frames: AsyncIterator[list[StreamFrame]]) -> End:
    try:
        async for batch in frames:
            rendered = chunks.render(batch) if batch else Rendered(b"")
            if rendered.end is End.WHOLE:
                await stream.end(rendered.data)
                return rendered.end
            # A batch of the agent's own tools renders to nothing: the clients' read timers need a sign of life there too.
            await (stream.send(rendered.data) if rendered.data else stream.ping())
            if rendered.end is End.BROKEN:
                return rendered.end
    except ApiError as error:
        await stream.send(error_chunk(error.problem()))
    except Interrupted:
        await stream.send(error_chunk(ApiError(Code.DRAINING).problem()))
    return End.BROKEN
