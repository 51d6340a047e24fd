"""Sessions: create, list, get, end, delete, and their messages."""

from typing import Any, Final

from aiohttp import web
from pydantic import Field

from services.gateway.api.schemas import DELETED, MESSAGE
from services.gateway.api.session_filters import FILTERS, filters_of
from services.gateway.call import Call, Route
from services.gateway.edge.params import CURSOR, LIMIT, ORDER, OWN_BODY
from services.gateway.edge.replies import data_response, page_response
from services.gateway.edge.route import Param, Reply
from services.gateway.edge.validation import Metadata, json_body, no_body, page_query
from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import Scope
from shared.contracts.schema import PublicRequest
from shared.contracts.sessions import EndedReason, EndUser, Session
from shared.ids import is_id, new_id

BRANCHES: Final = Param(
    "branches",
    {"enum": ["all"]},
    "also the messages that regenerated or edited ones have replaced; each then has `parentTurnId`",
)


class SentEndUser(PublicRequest):
    id: str = Field(min_length=1, max_length=200)
    name: str | None = Field(default=None, max_length=200)
    metadata: Metadata = Field(default_factory=dict)


class CreateSession(PublicRequest):
    agent_id: str
    metadata: Metadata = Field(default_factory=dict)
    end_user: SentEndUser | None = Field(default=None, description="who talks to the agent, for variables and filters")
    draft_mode: bool = Field(default=False, description="run the agent's draft, not its published version")


def session_id(call: Call) -> str:
    return call.path_id("sessionId", "ses", Code.SESSION_NOT_FOUND)


def shown(session: Session) -> dict[str, Any]:
    """All members, those without a value as null."""
    return session.model_dump(mode="json", by_alias=True)


async def create(call: Call) -> web.StreamResponse:
    body = await json_body(call.request, CreateSession)
    if not is_id("agt", body.agent_id):
        raise ApiError(Code.AGENT_NOT_FOUND)
    end_user = EndUser(**body.end_user.model_dump()) if body.end_user is not None else None
    session = await call.dependencies.history.create_session(
        call.workspace, new_id("ses"), body.agent_id, body.metadata, body.draft_mode, end_user
    )
    return data_response(shown(session), status=201, headers={"Location": f"{call.request.path}/{session.id}"})


async def list_all(call: Call) -> web.StreamResponse:
    query = [*page_query(call.request.query).items(), *filters_of(call.request)]
    page = await call.dependencies.history.sessions(call.workspace, query)
    items = [shown(Session.model_validate(item)) for item in page["items"]]
    return page_response({**page, "items": items})


async def get(call: Call) -> web.StreamResponse:
    return data_response(shown(await call.dependencies.history.session(call.workspace, session_id(call))))


async def messages(call: Call) -> web.StreamResponse:
    wanted = session_id(call)
    query = page_query(call.request.query, order=("asc", "desc"), branches=("all",))
    return page_response(await call.dependencies.history.messages(call.workspace, wanted, query))


async def end(call: Call) -> web.StreamResponse:
    wanted = session_id(call)
    await no_body(call.request)
    reason: EndedReason = "api" if call.principal.visitor is None else "visitor"
    return data_response(shown(await call.dependencies.history.end_session(call.workspace, wanted, reason)))


async def delete(call: Call) -> web.StreamResponse:
    wanted = session_id(call)
    await no_body(call.request)
    await call.dependencies.history.delete_session(call.workspace, wanted, call.principal.key_id)
    return data_response({"id": wanted, "deleted": True})


ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="POST",
        path="/chat/sessions",
        serve=create,
        scope=Scope.CHAT_WRITE,
        summary="Create a session",
        request=CreateSession,
        replies={201: (Reply("the session", Session, gives={"/chat/sessions/{sessionId}": "id"}),)},
        errors=(*OWN_BODY, Code.AGENT_NOT_FOUND, Code.NO_PUBLISHED_VERSION),
    ),
    Route(
        method="GET",
        path="/chat/sessions",
        serve=list_all,
        scope=Scope.CHAT_READ,
        summary="List sessions, newest first",
        params=(*FILTERS, LIMIT, CURSOR),
        replies={200: (Reply("a page of sessions", Session, paged=True),)},
    ),
    Route(
        method="GET",
        path="/chat/sessions/{sessionId}",
        serve=get,
        scope=Scope.CHAT_READ,
        visitor=True,
        summary="Get a session",
        replies={200: (Reply("the session", Session),)},
        errors=(Code.SESSION_NOT_FOUND,),
    ),
    Route(
        method="DELETE",
        path="/chat/sessions/{sessionId}",
        serve=delete,
        scope=Scope.CHAT_WRITE,
        summary="Delete a session and its transcript",
        replies={200: (Reply("it is gone", DELETED),)},
        errors=(*OWN_BODY, Code.SESSION_NOT_FOUND),
    ),
    Route(
        method="POST",
        path="/chat/sessions/{sessionId}/end",
        serve=end,
        scope=Scope.CHAT_WRITE,
        visitor=True,
        summary="End a session; an active turn is cancelled, its partial answer kept",
        body_optional=True,
        replies={200: (Reply("the session", Session),)},
        errors=(*OWN_BODY, Code.SESSION_NOT_FOUND),
    ),
    Route(
        method="GET",
        path="/chat/sessions/{sessionId}/messages",
        serve=messages,
        scope=Scope.CHAT_READ,
        visitor=True,
        summary="List the messages of the session's active branch",
        params=(LIMIT, CURSOR, ORDER, BRANCHES),
        replies={200: (Reply("a page of messages", MESSAGE, paged=True),)},
        errors=(Code.SESSION_NOT_FOUND,),
    ),
)
