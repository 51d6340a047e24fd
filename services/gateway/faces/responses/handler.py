"""`POST /responses`: a turn, in OpenAI's newer format."""

import hashlib
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from services.gateway.call import Call, Route
from services.gateway.edge.params import BODY, IDEMPOTENCY, STREAM
from services.gateway.edge.route import Reply
from services.gateway.edge.validation import idempotency_key
from services.gateway.faces.responses.items import turn_messages
from services.gateway.faces.responses.output import output_items
from services.gateway.faces.responses.place import Place, place_of, withdraw
from services.gateway.faces.responses.references import with_referenced
from services.gateway.faces.responses.renderer import ResponseStream
from services.gateway.faces.responses.request import CreateResponse, parse_response
from services.gateway.faces.responses.schemas import RESPONSE, RESPONSE_EVENTS
from services.gateway.faces.responses.shapes import ResponseShape, stored_response
from services.gateway.streaming.admission import Admission, admission
from services.gateway.streaming.disconnects import CallerGone
from services.gateway.streaming.failed_turn import TURN_ENDS, failed_turn
from services.gateway.streaming.follow import last_frame
from services.gateway.streaming.stream_session import StreamSession
from shared.contracts.errors import ApiError, Code
from shared.contracts.frames import data_of
from shared.contracts.keys import Scope
from shared.contracts.turns import AdmitTurn, CompletionRequest, StoredTurn, terminal_frame
from shared.ids import new_id
from shared.log import get_logger
from shared.web.bodies import json_response, read_json

log = get_logger()

# The member that a refusal of history is about.
_PARAMS: Final = {
    Code.MODEL_NOT_FOUND: "model",
    Code.SESSION_ENDED: "conversation",
    Code.TURN_NOT_FOUND: "previous_response_id",
}


async def create(call: Call) -> web.StreamResponse:
    body, ignored = parse_response(await read_json(call.request))
    sent = await with_referenced(call, body.input)
    messages = turn_messages(sent, datetime.now(UTC), goes_on=not body.begins)
    key = idempotency_key(call.request)
    with call.hold():
        try:
            place = await place_of(call, body, key)
            request = body.completion(place.previous)
            order = AdmitTurn(
                turn_id=new_id("trn"),
                session_id=place.session_id,
                parent=place.previous,
                agent_id=place.model,
                messages=messages,
                idempotency_key=key,
                body_digest=body.digest(),
                completion=request,
                retry_key=_retry_key(call, body) if key is None and call.principal.retry_guard else None,
                is_retry=_is_retry(call.request),
            )
            return await _accepted(call, body, order, place, ignored)
        except ApiError as error:
            raise _as_openai(error) from None


async def _accepted(
    call: Call, body: CreateResponse, order: AdmitTurn, place: Place, ignored: list[str]
) -> web.StreamResponse:
    is_accepted = False
    try:
        async with admission(call.dependencies, call.principal, order) as accepted:
            is_accepted = True
            if accepted.turn.session_id != place.session_id:  # A repeat is answered with its first turn.
                await withdraw(call, place)
            return await _answer(call, body, accepted, order.completion or CompletionRequest(), ignored)
    except ApiError as error:
        # After a 5xx it is not known whether the turn exists.
        if not is_accepted and error.status < 500:
            await withdraw(call, place)
        raise


def _as_openai(error: ApiError) -> ApiError:
    """The refusal as OpenAI words it: it names the member at fault, and has no 422."""
    error.param = error.param or _PARAMS.get(error.code)
    if error.code is not Code.VALIDATION_FAILED:
        return error
    param = error.errors[0]["field"] if error.errors else None
    return ApiError(Code.INVALID_REQUEST, error.detail, errors=error.errors, param=param)


def _retry_key(call: Call, body: CreateResponse) -> str:
    """What an SDK's blind retry has in common with the request that it repeats."""
    return hashlib.sha256(f"responses {call.principal.key_id} {body.digest()}".encode()).hexdigest()


def _is_retry(request: web.Request) -> bool:
    """OpenAI's SDKs count their own retries. They send no idempotency key by themselves."""
    count = request.headers.get("x-stainless-retry-count", "0")
    return count.isascii() and count.isdecimal() and count.strip("0") != ""


async def _answer(
    call: Call, body: CreateResponse, accepted: Admission, request: CompletionRequest, ignored: list[str]
) -> web.StreamResponse:
    turn = accepted.turn
    not_taken = await call.dependencies.agents.refused(
        call.workspace, turn.agent_id, turn.agent_version, set(request.parameters)
    )
    names = sorted({*ignored, *not_taken})
    headers = {"x-parley-ignored": ", ".join(names)} if names else {}
    if body.background and not body.stream:
        stored = StoredTurn(turn=turn, output=accepted.answer.output, completion=request)
        return json_response(stored_response(stored, shows_results=body.shows_results), headers=headers)
    if body.stream:
        work = _stream(call, body, accepted, request, headers)
    else:
        work = _whole(call, body, accepted, request, headers)
    if not _cancels(call, body):
        return await work
    try:
        return await call.dependencies.disconnects.unless_gone(call.request, work)
    except CallerGone:
        await _cancel(call, turn.id)
        return web.Response(status=499)


def _cancels(call: Call, body: CreateResponse) -> bool:
    """Whether the turn is cancelled when its caller disconnects: not if the caller can ask for it again."""
    comes_back = body.stored or "Idempotency-Key" in call.request.headers or call.principal.retry_guard
    return call.dependencies.settings.cancel_on_disconnect and not comes_back


async def _cancel(call: Call, turn_id: str) -> None:
    try:
        await call.dependencies.history.cancel(call.workspace, turn_id)
        log.info("response_abandoned", turn_id=turn_id)
    except ApiError as error:
        # The turn then ends by its deadline, and costs the tokens of one answer.
        log.warning("cancel_failed", turn_id=turn_id, code=str(error.code))


async def _whole(
    call: Call, body: CreateResponse, accepted: Admission, request: CompletionRequest, headers: dict[str, str]
) -> web.StreamResponse:
    """The ended response. A turn that fails is an HTTP error here, which no client can take for an answer."""
    turn = accepted.turn
    if accepted.ended:
        event, data = terminal_frame(turn, accepted.answer.output)
    else:
        frame = await last_frame(call.dependencies, call.workspace, turn.id, accepted.listener)
        event, data = frame.event, data_of(frame.data)
        turn = turn.model_copy(update={"attempt": frame.id.attempt if frame.id else turn.attempt})
    if event == "error":
        raise failed_turn(data)
    items = output_items(turn, data["messages"], data.get("finishReason"), shows_results=body.shows_results)
    return json_response(ResponseShape(turn, request).ended(data, items), headers=headers)


async def _stream(
    call: Call, body: CreateResponse, accepted: Admission, request: CompletionRequest, headers: dict[str, str]
) -> web.StreamResponse:
    turn = accepted.turn
    renderer = ResponseStream(turn, request, shows_results=body.shows_results)
    session = StreamSession(renderer, headers=headers, comes_back=not _cancels(call, body))
    return await session.follow(call.request, call.dependencies, call.workspace, turn, accepted.listener)


ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="POST",
        path="/responses",
        serve=create,
        scope=Scope.CHAT_WRITE,
        summary="OpenAI-compatible response; `model` is an agent's id, a conversation is a session",
        request=CreateResponse,
        params=(IDEMPOTENCY,),
        replies={
            200: (
                Reply("the response", RESPONSE, envelope=False, gives={"/responses/{responseId}": "id"}),
                Reply("events, then `[DONE]`", RESPONSE_EVENTS, envelope=False, media_type=STREAM),
            )
        },
        errors=(
            *BODY,
            *TURN_ENDS,
            Code.MODEL_NOT_FOUND,
            Code.NOT_FOUND,
            Code.TURN_IN_PROGRESS,
            Code.SESSION_ENDED,
            Code.IDEMPOTENCY_MISMATCH,
            Code.GONE,
            Code.BUDGET_EXCEEDED,
        ),
        openai=True,
    ),
)
