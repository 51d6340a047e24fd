"""Feedback about answers over HTTP."""

from typing import Final

from aiohttp import web

from services.history.api.bodies import read_schema
from services.history.api.nouns import nouns
from services.history.api.paging import bad_cursor, cursor_of, cursor_values, limit_of, page_of
from services.history.api.paths import SESSION, WORKSPACE, path_id, workspace_of
from shared.contracts.errors import ApiError, Code
from shared.contracts.feedback import GiveFeedback, Rating
from shared.ids import is_id
from shared.web.bodies import json_response


async def post_feedback(request: web.Request) -> web.Response:
    given = await read_schema(request, GiveFeedback)
    feedback = await nouns(request).feedback.give(workspace_of(request), path_id(request, "session_id"), given)
    return json_response(feedback.wire())


async def get_feedback(request: web.Request) -> web.Response:
    values = cursor_values(request, str)
    if values and not is_id("trn", values[0]):
        raise bad_cursor()
    agent_id, rating = request.query.get("agentId"), _rating(request.query.get("rating"))
    rows, following = await nouns(request).feedback.page(
        workspace_of(request), agent_id, rating, values[0] if values else None, limit_of(request)
    )
    return json_response(page_of([row.wire() for row in rows], cursor_of([following]) if following else None))


def _rating(text: str | None) -> Rating | None:
    match text:
        case None | "up" | "down":
            return text
    raise ApiError(Code.INVALID_REQUEST, "rating must be up or down.", param="rating")


ROUTES: Final = (
    web.post(SESSION + "/feedback", post_feedback),
    web.get(WORKSPACE + "/feedback", get_feedback),
)
