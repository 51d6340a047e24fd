"""The earlier conversations of an identified visitor: their list, and a token to open one of them."""

import asyncio
from typing import Final

from aiohttp import web

from services.gateway.api.sessions import shown as shown_session
from services.gateway.api.widget_visitors import VisitorAccess, access, agent_of, visitor_of
from services.gateway.call import Call, Route
from services.gateway.edge.params import CURSOR, LIMIT, OWN_BODY
from services.gateway.edge.replies import data_response, page_response
from services.gateway.edge.route import Reply
from services.gateway.edge.validation import no_body, page_query
from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import Scope
from shared.contracts.sessions import Session
from shared.contracts.widget import Visitor

# A page of at most 100 sessions asks history for the first message of each.
MAX_OPENING: Final = 120


class EarlierSession(Session):
    """`opening`: the beginning of the first thing that was said, at most 120 characters. None: nothing, or erased."""

    opening: str | None = None


async def list_own(call: Call) -> web.StreamResponse:
    visitor = _identified(call)
    query = [
        *page_query(call.request.query).items(),
        ("agentId", agent_of(call)),
        ("endUser", visitor.end_user_id or ""),
    ]
    page = await call.dependencies.history.sessions(call.workspace, query)
    sessions = [Session.model_validate(item) for item in page["items"]]
    openings = await asyncio.gather(*(_opening(call, session) for session in sessions))
    items = [
        {**shown_session(session), "opening": opening} for session, opening in zip(sessions, openings, strict=True)
    ]
    return page_response({**page, "items": items})


async def _opening(call: Call, session: Session) -> str | None:
    if not session.turn_count:
        return None
    try:
        page = await call.dependencies.history.messages(call.workspace, session.id, {"limit": "1", "order": "asc"})
    except ApiError as error:
        if error.code is Code.SESSION_NOT_FOUND:  # It was deleted after the page was read.
            return None
        raise
    content = page["items"][0].get("content") if page["items"] else None
    return content[:MAX_OPENING] if isinstance(content, str) else None


async def open_earlier(call: Call) -> web.StreamResponse:
    """A token for another session of the same end user with the same agent."""
    visitor, wanted = _identified(call), call.path_id("earlierId", "ses", Code.SESSION_NOT_FOUND)
    await no_body(call.request)
    session = await call.dependencies.history.session(call.workspace, wanted)
    owner = session.end_user.id if session.end_user is not None else None
    if (session.agent_id, owner) != (agent_of(call), visitor.end_user_id):
        raise ApiError(Code.SESSION_NOT_FOUND)
    return data_response(access(call, visitor.model_copy(update={"session_id": wanted})))


def _identified(call: Call) -> Visitor:
    visitor = visitor_of(call)
    if not visitor.is_identified:
        raise ApiError(Code.IDENTITY_REQUIRED, "Only identified visitors have earlier conversations.")
    return visitor


ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="GET",
        path="/chat/widget/sessions",
        serve=list_own,
        scope=Scope.CHAT_PUBLIC,
        visitor=True,
        summary="List an identified visitor's conversations with this agent, newest first",
        params=(LIMIT, CURSOR),
        replies={200: (Reply("a page of sessions", EarlierSession, paged=True),)},
        errors=(Code.IDENTITY_REQUIRED,),
    ),
    Route(
        method="POST",
        path="/chat/widget/earlier/{earlierId}/token",
        serve=open_earlier,
        scope=Scope.CHAT_PUBLIC,
        visitor=True,
        summary="Open another conversation of the same identified visitor",
        body_optional=True,
        replies={200: (Reply("a token for that session", VisitorAccess),)},
        errors=(*OWN_BODY, Code.IDENTITY_REQUIRED, Code.SESSION_NOT_FOUND),
    ),
)
