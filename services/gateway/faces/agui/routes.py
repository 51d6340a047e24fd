"""AG-UI's route for runs; and, beside the protocol, a thread's messages and a way to cancel its run."""

import hashlib
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from services.gateway.call import Call, Route
from services.gateway.edge.json_schema import ANY, TEXT, Named, object_of
from services.gateway.edge.params import OWN_BODY, STREAM
from services.gateway.edge.route import Reply
from services.gateway.edge.validation import canonical, no_body, refused, validated
from services.gateway.faces.agui.messages import thread_messages
from services.gateway.faces.agui.renderer import AgUiStream
from services.gateway.faces.agui.request import Asked, RunAgentInput, Said, asked
from services.gateway.faces.chats import (
    BEFORE,
    ChatSession,
    agent_of,
    checked_id,
    page_before,
    read_conversation,
    session_for,
    session_of,
    stop_last,
)
from services.gateway.faces.placing import turn_of_message
from services.gateway.streaming.admission import admission
from services.gateway.streaming.stream_session import StreamSession
from shared.contracts.errors import Code
from shared.contracts.keys import Scope
from shared.contracts.sessions import TurnMessage
from shared.contracts.turns import AdmitTurn
from shared.ids import new_id
from shared.web.bodies import json_response

EVENTS: Final = Named("AgUiEvent", object_of({"type": TEXT}, None, "An event of AG-UI 1.0"))
MESSAGES: Final = Named(
    "AgUiMessages",
    object_of(
        {
            "messages": {"type": "array", "items": ANY},
            "before": {
                "type": ["integer", "null"],
                "description": "for the messages in front of these; null: there are none",
            },
        }
    ),
)
STOPPED: Final = Named("RunStopped", object_of({"success": {"const": True}}))
_PATH: Final = "/agents/{agentId}/agui"


async def post_run(call: Call) -> web.StreamResponse:
    agent_id = agent_of(call)
    body = validated(RunAgentInput, await read_conversation(call)).checked()
    run, completion = asked(body.messages), body.completion()
    if completion is not None and call.principal.visitor is not None:
        # They would speak to the model in the place of whoever has made the agent.
        raise refused("tools", "and `context` need a secret key: a page with a visitor token sends none")
    session = await session_for(call, agent_id, body.thread_id, body.props)
    order = (await _order(call, session, body, run)).model_copy(update={"completion": completion})
    with call.hold():
        async with admission(call.dependencies, call.principal, order) as accepted:
            events = AgUiStream(
                accepted.turn, body.thread_id, body.run_id, run.before, is_repeat=not accepted.answer.created
            )
            listener = accepted.listener
            return await StreamSession(events).follow(
                call.request, call.dependencies, call.workspace, accepted.turn, listener
            )


async def _order(call: Call, session: ChatSession, body: RunAgentInput, run: Asked) -> AdmitTurn:
    """Behind the last answer that the client shows, so a client that has left some out begins a branch.

    A client that shows none has the conversation's beginning or only its own message: that is looked up.
    """
    said = run.messages[-1]
    replaced = None
    if run.parent is None and not session.is_new and said.id is not None:
        replaced = await turn_of_message(call, session.id, said.id)
    return AdmitTurn(
        turn_id=new_id("trn"),
        session_id=session.id,
        parent=run.parent,
        instead_of=replaced.id if replaced is not None else None,
        messages=tuple(map(_message, run.messages)),
        idempotency_key=hashlib.sha256(canonical(["run", body.run_id])).hexdigest(),
        body_digest=hashlib.sha256(canonical([list(each) for each in run.messages])).hexdigest(),
        reasoning=body.props.reasoning,
    )


def _message(said: Said) -> TurnMessage:
    role = "tool" if said.role == "tool" else "user"
    return TurnMessage.model_validate(
        {
            "id": new_id("msg"),
            "clientId": said.id,
            "role": role,
            "content": said.content,
            "toolCallId": said.call_id,
            "createdAt": datetime.now(UTC),
        }
    )


async def stop(call: Call) -> web.StreamResponse:
    """Idempotent. A client's `abortRun()` only closes its connection, after which the run goes on."""
    agent_id = agent_of(call)
    await no_body(call.request)
    await stop_last(call, await session_of(call, agent_id, _thread(call)))
    return json_response({"success": True})


async def list_messages(call: Call) -> web.StreamResponse:
    agent_id, before = agent_of(call), page_before(call.request)
    session_id = await session_of(call, agent_id, _thread(call))
    if session_id is None:
        return json_response({"messages": [], "before": None})
    page = await call.dependencies.history.branch(call.workspace, session_id, before)
    return json_response({"messages": thread_messages(page.turns), "before": page.next})


def _thread(call: Call) -> str:
    return checked_id("chatId", call.request.match_info["chatId"])


ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="POST",
        path=_PATH,
        serve=post_run,
        scope=Scope.CHAT_WRITE,
        visitor=True,
        summary="AG-UI: run the agent on a thread; the run's events as a stream",
        request=RunAgentInput,
        replies={200: (Reply("events of the run", EVENTS, envelope=False, media_type=STREAM),)},
        errors=(
            *OWN_BODY,
            Code.AGENT_NOT_FOUND,
            Code.NO_PUBLISHED_VERSION,
            Code.SESSION_NOT_FOUND,
            Code.TURN_NOT_FOUND,
            Code.SESSION_ENDED,
            Code.TURN_IN_PROGRESS,
            Code.IDEMPOTENCY_MISMATCH,
            Code.GONE,
            Code.BUDGET_EXCEEDED,
        ),
    ),
    Route(
        method="POST",
        path=_PATH + "/{chatId}/stop",
        serve=stop,
        scope=Scope.CHAT_WRITE,
        visitor=True,
        summary="AG-UI: cancel the thread's run",
        body_optional=True,
        replies={200: (Reply("nothing runs any more, or ends soon", STOPPED, envelope=False),)},
        errors=(*OWN_BODY, Code.AGENT_NOT_FOUND, Code.SESSION_NOT_FOUND),
    ),
    Route(
        method="GET",
        path=_PATH + "/{chatId}/messages",
        serve=list_messages,
        scope=Scope.CHAT_READ,
        visitor=True,
        summary="AG-UI: the last messages of a thread's active branch",
        params=(BEFORE,),
        replies={200: (Reply("the messages of up to 50 turns", MESSAGES, envelope=False),)},
        errors=(Code.AGENT_NOT_FOUND, Code.SESSION_NOT_FOUND),
    ),
)
