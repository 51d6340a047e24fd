"""A message to an agent, and its task: whole at its end, at once, or as a stream."""

from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from services.gateway.call import Call
from services.gateway.faces.a2a.contexts import context_of, label_of, session_for
from services.gateway.faces.a2a.errors import BUSY, PARAMS, UNSUPPORTED_OPERATION, A2aError
from services.gateway.faces.a2a.requests import GetTask, SendMessage, SentMessage
from services.gateway.faces.a2a.shapes import stored_task, task_of
from services.gateway.faces.a2a.task_stream import TaskStream
from services.gateway.faces.a2a.tasks import find
from services.gateway.faces.a2a.wire import Wire
from services.gateway.streaming.admission import Admission, admission
from services.gateway.streaming.follow import outcome
from services.gateway.streaming.sse_response import HEADERS, stream_headers
from services.gateway.streaming.stream_session import StreamSession
from shared.contracts.sessions import TurnMessage
from shared.contracts.turns import ENDED, AdmitTurn
from shared.ids import new_id


async def send_message(call: Call, agent_id: str, sent: SendMessage) -> dict[str, Any]:
    """`{task}`. A turn that fails is a task that has failed."""
    length = sent.configuration.history_length
    with call.hold():
        order, context_id = await _order(call, agent_id, sent.message)
        async with admission(call.dependencies, call.principal, order) as accepted:
            turn_id = accepted.turn.id
            if not accepted.ended and sent.configuration.return_immediately:
                return {"task": task_of(accepted.turn, context_id, order.messages, (), length)}
            if not accepted.ended:
                await outcome(call.dependencies, call.workspace, turn_id, accepted.listener)
    stored = await find(call, agent_id, turn_id)
    return {"task": stored_task(stored, context_id, length)}


async def stream_message(call: Call, agent_id: str, sent: SendMessage, wire: Wire) -> web.StreamResponse:
    with call.hold():
        order, context_id = await _order(call, agent_id, sent.message)
        async with admission(call.dependencies, call.principal, order) as accepted:
            task = _task(order, accepted, context_id, sent.configuration.history_length)
            if accepted.ended:
                return ended_stream(wire, task)
            session = StreamSession(TaskStream(wire, accepted.turn, context_id, task))
            return await session.follow(
                call.request, call.dependencies, call.workspace, accepted.turn, accepted.listener
            )


async def subscribe(call: Call, agent_id: str, asked: GetTask, wire: Wire) -> web.StreamResponse:
    """The task as it stands, and its updates from the beginning."""
    stored = await find(call, agent_id, asked.id, text=False)
    turn = stored.turn
    if turn.status in ENDED:
        raise A2aError(UNSUPPORTED_OPERATION, "The task has ended. GetTask has it.", {"taskId": turn.id})
    if call.request.method == "HEAD":
        return stream_headers()
    context_id = await context_of(call, stored)
    with call.hold():
        async with call.dependencies.hub.listen(call.workspace, turn.id) as listener:
            session = StreamSession(TaskStream(wire, turn, context_id, task_of(turn, context_id)))
            return await session.follow(call.request, call.dependencies, call.workspace, turn, listener)


def ended_stream(wire: Wire, task: dict[str, Any]) -> web.Response:
    """The stream of a message that is sent again after its task has ended."""
    return web.Response(body=wire.event({"task": task}), headers=HEADERS)


def _task(order: AdmitTurn, accepted: Admission, context_id: str, length: int | None) -> dict[str, Any]:
    output = accepted.answer.output if accepted.ended else ()
    return task_of(accepted.turn, context_id, order.messages, output, length)


async def _order(call: Call, agent_id: str, message: SentMessage) -> tuple[AdmitTurn, str]:
    """The turn to admit, and what the client calls its context."""
    if message.task_id:
        await _refuse_task(call, agent_id, message)
    session = await session_for(call, agent_id, message)
    said = TurnMessage(
        id=new_id("msg"),
        client_id=message.message_id,
        role="user",
        content=message.text,
        created_at=datetime.now(UTC),
    )
    order = AdmitTurn(
        turn_id=new_id("trn"),
        session_id=session.id,
        messages=(said,),
        idempotency_key=f"a2a:{message.message_id}",
        body_digest=message.digest(),
    )
    return order, label_of(session)


async def _refuse_task(call: Call, agent_id: str, message: SentMessage) -> None:
    """A task here is one message and its answer. What follows is another task of the same context."""
    stored = await find(call, agent_id, message.task_id, text=False)
    if message.context_id and message.context_id not in (stored.turn.session_id, await context_of(call, stored)):
        raise A2aError(PARAMS, "The task belongs to another context. Leave taskId or contextId out.")
    if stored.turn.status in ENDED:
        raise A2aError(
            UNSUPPORTED_OPERATION,
            "The task has ended. Leave taskId out to go on in its context.",
            {"taskId": stored.turn.id},
        )
    raise A2aError(BUSY, "The task is running and takes no further message.", {"taskId": stored.turn.id})
