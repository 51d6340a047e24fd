"""`tools/call`: a message to an agent, and its answer as one document or as a stream with progress."""

import hashlib
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web

from services.gateway.call import Call
from services.gateway.edge.validation import canonical
from services.gateway.faces.json_rpc import INVALID_PARAMS, RpcError, RpcRequest
from services.gateway.faces.mcp.catalog import agent_of
from services.gateway.faces.mcp.connections import CONNECTION_HEADER, Ids, ids_of, is_name, new_ids
from services.gateway.faces.mcp.progress import Asked, CallStream
from services.gateway.faces.mcp.tools import AskArguments, arguments_of, failure_of, result_of
from services.gateway.faces.mcp.versions import Revision
from services.gateway.streaming.admission import Admission, admission
from services.gateway.streaming.disconnects import CallerGone
from services.gateway.streaming.follow import outcome
from services.gateway.streaming.stream_session import StreamSession
from shared.contracts.errors import ApiError, Code
from shared.contracts.sessions import TurnMessage
from shared.contracts.turns import AdmitTurn, terminal_frame
from shared.ids import is_id
from shared.log import get_logger
from shared.web.bodies import json_response

log = get_logger()

STREAM: Final = "text/event-stream"


async def call_tool(call: Call, request: RpcRequest, revision: Revision) -> web.StreamResponse:
    """A fault that a model can do something about is a result; what its host must handle is an error."""
    token = _progress_token(request.params)
    agent_id = await agent_of(call, request.params.get("name"))
    try:
        arguments = arguments_of(request.params.get("arguments", {}))
        with call.hold():
            ids = _ids(call, request, revision)
            session_id = await _session(call, agent_id, arguments, ids)
            async with admission(call.dependencies, call.principal, _order(session_id, ids, arguments)) as accepted:
                return await _answer(call, request, revision, accepted, token)
    except ApiError as error:
        if error.code is Code.IDEMPOTENCY_MISMATCH:
            raise _used_before() from None
        if error.status == 429 or error.status >= 500:
            raise
        return json_response(request.result(revision.result(failure_of(error))))


def _progress_token(params: dict[str, Any]) -> str | int | None:
    meta = params.get("_meta")
    token = meta.get("progressToken") if isinstance(meta, dict) else None
    if token is not None and not is_name(token):
        raise RpcError(INVALID_PARAMS, "progressToken must be an integer, or a text of at most 200 characters.")
    return token


def _ids(call: Call, request: RpcRequest, revision: Revision) -> Ids:
    """A client of the handshake can cancel by the id of its request, and repeat it, if it names its connection."""
    connection = call.request.headers.get(CONNECTION_HEADER)
    if revision.is_stateless or connection is None or request.id is None:
        return new_ids()
    return ids_of(connection, call.principal.key_id, request.id)


async def _session(call: Call, agent_id: str, arguments: AskArguments, ids: Ids) -> str:
    """The session of the arguments, or a new one. Raises `session_not_found` also for one of another agent."""
    history = call.dependencies.history
    if arguments.session_id is None:
        session = await history.create_session(call.workspace, ids.session, agent_id, arguments.metadata, draft=False)
        if session.agent_id != agent_id:
            raise _used_before()
        return session.id
    session = await history.session(call.workspace, session_path(arguments.session_id))
    if session.agent_id != agent_id:
        raise ApiError(Code.SESSION_NOT_FOUND, "This agent has no such session. Leave sessionId out to start one.")
    return session.id


def _used_before() -> RpcError:
    """Only a client of the handshake gets this: what its request makes has ids that its id gives."""
    return RpcError(INVALID_PARAMS, "The id of this request was used for another one. Ids are for one request each.")


def session_path(text: str) -> str:
    """Only an id may reach a path. Raises `session_not_found`."""
    if not is_id("ses", text):
        raise ApiError(Code.SESSION_NOT_FOUND)
    return text


def _order(session_id: str, ids: Ids, arguments: AskArguments) -> AdmitTurn:
    asked = canonical({"content": arguments.message, "metadata": {}})
    message = TurnMessage(id=ids.message, role="user", content=arguments.message, created_at=datetime.now(UTC))
    return AdmitTurn(
        turn_id=ids.turn,
        session_id=session_id,
        messages=(message,),
        body_digest=hashlib.sha256(asked).hexdigest(),
    )


async def _answer(
    call: Call, request: RpcRequest, revision: Revision, accepted: Admission, token: str | int | None
) -> web.StreamResponse:
    assert request.id is not None
    turn = accepted.turn
    if accepted.ended:
        return _whole(request, revision, turn.session_id, *terminal_frame(turn, accepted.answer.output))
    if takes_stream(call.request):
        stream = CallStream(Asked(revision, request.id, token), turn)
        session = StreamSession(stream, comes_back=not _cancels(call, revision))
        work = session.follow(call.request, call.dependencies, call.workspace, turn, accepted.listener)
    else:
        work = _waited(call, request, revision, accepted)
    if not _cancels(call, revision):
        return await work
    try:
        return await call.dependencies.disconnects.unless_gone(call.request, work)
    except CallerGone:
        await cancel_turn(call, turn.id)
        return web.Response(status=499)


def takes_stream(request: web.Request) -> bool:
    accepted = ",".join(request.headers.getall("Accept", [])).lower()
    return STREAM in accepted or not accepted or "*/*" in accepted


def _cancels(call: Call, revision: Revision) -> bool:
    """Since 2026-07-28 a client cancels by closing the stream. Before, closing it says nothing."""
    return revision.is_stateless and call.dependencies.settings.cancel_on_disconnect


async def _waited(call: Call, request: RpcRequest, revision: Revision, accepted: Admission) -> web.StreamResponse:
    event, data = await outcome(call.dependencies, call.workspace, accepted.turn.id, accepted.listener)
    return _whole(request, revision, accepted.turn.session_id, event, data)


def _whole(
    request: RpcRequest, revision: Revision, session_id: str | None, event: str, data: dict[str, Any]
) -> web.Response:
    return json_response(request.result(revision.result(result_of(session_id or "", event, data))))


async def cancel_turn(call: Call, turn_id: str) -> None:
    """A turn that cannot be cancelled ends by its deadline, and costs the tokens of one answer."""
    try:
        await call.dependencies.history.cancel(call.workspace, turn_id)
        log.info("call_cancelled", turn_id=turn_id)
    except ApiError as error:
        log.warning("cancel_failed", turn_id=turn_id, code=str(error.code))
