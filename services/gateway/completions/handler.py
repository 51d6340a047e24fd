"""`POST /chat/completions`: a turn without a session, in OpenAI's format."""

import hashlib
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from services.gateway.call import Call, Route
from services.gateway.completions.chunks import ChunkStream
from services.gateway.completions.request import ChatCompletion, parse_completion
from services.gateway.completions.schemas import CHAT_COMPLETION, CHUNKS
from services.gateway.completions.shapes import completion_shape
from services.gateway.dependencies import Dependencies
from services.gateway.edge.model_names import is_model
from services.gateway.edge.params import BODY, IDEMPOTENCY, STREAM
from services.gateway.edge.route import Reply
from services.gateway.edge.validation import idempotency_key, refused
from services.gateway.streaming.admission import Admission, admission
from services.gateway.streaming.cursor import REPEAT_FROM, last_event_id
from services.gateway.streaming.disconnects import CallerGone
from services.gateway.streaming.failed_turn import TURN_ENDS, failed_turn
from services.gateway.streaming.follow import outcome
from services.gateway.streaming.listener import Listener
from services.gateway.streaming.replay import whole_answer
from services.gateway.streaming.stream_session import StreamSession
from shared.contracts.errors import ApiError, Code
from shared.contracts.frames import BEGINNING, FrameId, stream_frame
from shared.contracts.keys import Scope
from shared.contracts.turns import ENDED, AdmitTurn, StoredTurn, Turn, terminal_frame
from shared.ids import new_id
from shared.log import get_logger
from shared.web.bodies import json_response, read_json

log = get_logger()


async def create(call: Call) -> web.StreamResponse:
    body, ignored = parse_completion(await read_json(call.request))
    key, after = idempotency_key(call.request), last_event_id(call.request)
    if not is_model(body.model):
        raise ApiError(Code.MODEL_NOT_FOUND, param="model")
    await _refuse_unanswerable(call, body)
    order = AdmitTurn(
        turn_id=new_id("trn"),
        agent_id=body.model,
        messages=body.stored_messages(datetime.now(UTC)),
        idempotency_key=key,
        body_digest=body.digest(),
        completion=body.completion(),
        reasoning=bool(body.stream and body.include_reasoning),
        retry_key=_retry_key(call, body) if key is None and call.principal.retry_guard else None,
        is_retry=_is_retry(call.request),
    )
    with call.hold():
        try:
            async with admission(call.dependencies, call.principal, order) as accepted:
                cursor = BEGINNING if accepted.answer.created or after is None else after
                return await _answer(call, body, accepted, ignored, cursor)
        except ApiError as error:
            raise _as_openai(error) from None


def _as_openai(error: ApiError) -> ApiError:
    """The refusal of an admission as OpenAI words it: it names the member at fault, and has no 422."""
    if error.code is Code.MODEL_NOT_FOUND:
        error.param = "model"
    if error.code is not Code.VALIDATION_FAILED:
        return error
    param = error.errors[0]["field"] if error.errors else None
    return ApiError(Code.INVALID_REQUEST, error.detail, errors=error.errors, param=param)


def _retry_key(call: Call, body: ChatCompletion) -> str:
    """What an SDK's blind retry has in common with the request that it repeats."""
    return hashlib.sha256(f"{call.principal.key_id} {body.model} {body.digest()}".encode()).hexdigest()


def _is_retry(request: web.Request) -> bool:
    """OpenAI's SDKs count their own retries. They send no idempotency key by themselves."""
    count = request.headers.get("x-stainless-retry-count", "0")
    return count.isascii() and count.isdecimal() and count.strip("0") != ""


async def _refuse_unanswerable(call: Call, body: ChatCompletion) -> None:
    """Refuses what the agent could not answer, before the turn exists.

    Only rare requests need a look at the agent for this.
    """
    format_matters = body.response_format is not None and body.response_format["type"] != "text"
    if not format_matters and not body.says_nothing:
        return
    agent_id, number = await call.dependencies.history.resolve_model(call.workspace, body.model)
    rules = call.dependencies.agents
    if body.says_nothing and not await rules.has_instructions(call.workspace, agent_id, number):
        raise refused("messages", "must hold text, because the agent has no instructions")
    # A caller that asks for JSON cannot use prose.
    if format_matters and await rules.refused(call.workspace, agent_id, number, {"response_format"}):
        raise refused("response_format", "cannot be chosen by callers of this agent")


async def _answer(
    call: Call, body: ChatCompletion, accepted: Admission, ignored: list[str], after: FrameId
) -> web.StreamResponse:
    """`after`: the last frame that the caller received of the request that this one repeats."""
    turn = accepted.turn
    not_taken = await call.dependencies.agents.refused(
        call.workspace, turn.agent_id, turn.agent_version, set(body.parameters())
    )
    names = sorted({*ignored, *not_taken})
    headers = {"x-parley-ignored": ", ".join(names)} if names else {}
    if accepted.ended and not (body.stream and after != BEGINNING):
        return await _replay(call, body, accepted, headers)
    work = _stream(call, body, accepted, headers, after) if body.stream else _whole(call, accepted, headers)
    if not _cancels(call, body):
        return await work
    try:
        return await call.dependencies.disconnects.unless_gone(call.request, work)
    except CallerGone:
        await _cancel(call.dependencies, call.workspace, turn)
        return web.Response(status=499)


def _cancels(call: Call, body: ChatCompletion) -> bool:
    """Whether the turn is cancelled when its caller disconnects: not if the caller can ask for it again."""
    comes_back = body.store or "Idempotency-Key" in call.request.headers or call.principal.retry_guard
    return call.dependencies.settings.cancel_on_disconnect and not comes_back


async def _cancel(dependencies: Dependencies, workspace: str, turn: Turn) -> None:
    try:
        await dependencies.history.cancel(workspace, turn.id)
        log.info("completion_abandoned", turn_id=turn.id)
    except ApiError as error:
        # The turn then ends by its deadline, and costs the tokens of one answer.
        log.warning("cancel_failed", turn_id=turn.id, code=str(error.code))


async def _whole(call: Call, accepted: Admission, headers: dict[str, str]) -> web.StreamResponse:
    event, data = await outcome(call.dependencies, call.workspace, accepted.turn.id, accepted.listener)
    if event == "error":
        raise failed_turn(data)
    return json_response(completion_shape(accepted.turn, data), headers=headers)


async def _replay(call: Call, body: ChatCompletion, accepted: Admission, headers: dict[str, str]) -> web.StreamResponse:
    """Answers a repeated request whose turn has ended, from the stored turn."""
    event, data = terminal_frame(accepted.turn, accepted.answer.output)
    if event == "error":
        raise failed_turn(data)
    if not body.stream:
        return json_response(completion_shape(accepted.turn, data), headers=headers)
    session = StreamSession(ChunkStream(accepted.turn, include_usage=body.include_usage), headers=headers)
    return await session.replay(call.request, whole_answer(accepted.turn, accepted.answer.output))


async def _stream(
    call: Call, body: ChatCompletion, accepted: Admission, headers: dict[str, str], after: FrameId
) -> web.StreamResponse:
    turn = accepted.turn
    chunks = ChunkStream(
        turn,
        include_usage=body.include_usage,
        include_reasoning=bool(body.include_reasoning),
        has_text=after != BEGINNING,
    )
    session = StreamSession(chunks, headers=headers, comes_back=not _cancels(call, body))
    if accepted.ended:
        stored = await call.dependencies.history.turn(call.workspace, turn.id)
        return await resume_chunks(call, session, stored, accepted.listener, after)
    return await session.follow(call.request, call.dependencies, call.workspace, turn, accepted.listener, after)


async def resume_chunks(
    call: Call, session: StreamSession, stored: StoredTurn, listener: Listener, after: FrameId
) -> web.StreamResponse:
    """The chunks after a cursor. A client that has all of them gets the last one again."""
    turn = stored.turn
    end = FrameId(turn.attempt, stored.last_seq)
    if turn.status in ENDED and after >= end:
        return await session.replay(call.request, [stream_frame(*terminal_frame(turn, stored.output), end)])
    return await session.follow(call.request, call.dependencies, call.workspace, turn, listener, after)


ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="POST",
        path="/chat/completions",
        serve=create,
        scope=Scope.CHAT_WRITE,
        summary="OpenAI-compatible completion; `model` is an agent's id",
        request=ChatCompletion,
        params=(IDEMPOTENCY, REPEAT_FROM),
        replies={
            200: (
                Reply(
                    "the completion", CHAT_COMPLETION, envelope=False, gives={"/chat/completions/{completionId}": "id"}
                ),
                Reply("chunks, then `[DONE]`", CHUNKS, envelope=False, media_type=STREAM),
            )
        },
        errors=(*BODY, *TURN_ENDS, Code.MODEL_NOT_FOUND, Code.IDEMPOTENCY_MISMATCH, Code.GONE, Code.BUDGET_EXCEEDED),
        openai=True,
    ),
)
