"""Feedback about answers: given by visitors and by servers, listed for the agent's owner."""

from typing import Annotated, Final

from aiohttp import web
from pydantic import Field, StringConstraints

from services.gateway.api.sessions import session_id
from services.gateway.call import Call, Route
from services.gateway.edge.params import CURSOR, LIMIT, OWN_BODY
from services.gateway.edge.replies import data_response, page_response
from services.gateway.edge.route import Param, Reply
from services.gateway.edge.validation import json_body, page_query, refused
from shared.contracts.errors import Code
from shared.contracts.feedback import MAX_COMMENT, Feedback, GiveFeedback, Rating
from shared.contracts.keys import Scope
from shared.contracts.schema import PublicRequest
from shared.ids import is_id


class RateAnswer(PublicRequest):
    rating: Rating
    comment: Annotated[str, StringConstraints(max_length=MAX_COMMENT)] | None = Field(
        default=None, description="why, in the person's own words"
    )


async def give(call: Call) -> web.StreamResponse:
    wanted = session_id(call)
    message = call.path_id("messageId", "msg", Code.NOT_FOUND)
    body = await json_body(call.request, RateAnswer)
    history = call.dependencies.history
    # A session that does not exist gets the answer that it gets everywhere.
    await history.session(call.workspace, wanted)
    given = GiveFeedback(message_id=message, rating=body.rating, comment=body.comment)
    return data_response((await history.give_feedback(call.workspace, wanted, given)).wire())


async def list_all(call: Call) -> web.StreamResponse:
    query = page_query(call.request.query, rating=("up", "down"))
    if (agent := call.request.query.get("agentId")) is not None:
        if not is_id("agt", agent):
            raise refused("agentId", "must be the id of an agent")
        query["agentId"] = agent
    return page_response(await call.dependencies.history.feedback(call.workspace, query))


ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="POST",
        path="/chat/sessions/{sessionId}/messages/{messageId}/feedback",
        serve=give,
        scope=Scope.CHAT_WRITE,
        visitor=True,
        summary="Say whether an answer was good; the last word about an answer counts",
        request=RateAnswer,
        replies={200: (Reply("the feedback", Feedback),)},
        errors=(*OWN_BODY, Code.SESSION_NOT_FOUND, Code.NOT_FOUND),
    ),
    Route(
        method="GET",
        path="/chat/feedback",
        serve=list_all,
        scope=Scope.CHAT_READ,
        summary="List feedback, of the newest turns first",
        params=(
            Param("agentId", {"type": "string"}, "only about this agent's answers"),
            Param("rating", {"enum": ["up", "down"]}, "only this rating"),
            LIMIT,
            CURSOR,
        ),
        replies={200: (Reply("a page of feedback", Feedback, paged=True),)},
    ),
)
