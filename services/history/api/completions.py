"""Stored completions over HTTP."""

from typing import Final

from aiohttp import web
from pydantic import BaseModel, Field

from services.history.api.bodies import read_schema
from services.history.api.nouns import nouns
from services.history.api.paging import direction_of, limit_of, page_of
from services.history.api.paths import COMPLETION, WORKSPACE, path_id, workspace_of
from shared.contracts.errors import ApiError, Code
from shared.ids import is_id
from shared.web.bodies import json_response

MAX_LABELS: Final = 16


class Labels(BaseModel):
    metadata: dict[str, str] = Field(max_length=MAX_LABELS)


async def get_completions(request: web.Request) -> web.Response:
    query = request.query
    after, labels = query.get("after"), query.getall("label", [])
    direction = direction_of(request)
    if after is not None and not is_id("trn", after):
        raise ApiError(Code.INVALID_REQUEST, "after must be the id of a completion.", param="after")
    if len(labels) > MAX_LABELS:
        detail = f"A list can be filtered by at most {MAX_LABELS} pairs of metadata."
        raise ApiError(Code.INVALID_REQUEST, detail, param="metadata")
    found, following = await nouns(request).completions.page(
        workspace_of(request), query.get("agentId"), labels, direction, after, limit_of(request)
    )
    return json_response(page_of([stored.wire() for stored in found], following))


async def post_completion(request: web.Request) -> web.Response:
    metadata = (await read_schema(request, Labels)).metadata
    stored = await nouns(request).completions.label(workspace_of(request), path_id(request, "turn_id"), metadata)
    return json_response(stored.wire())


async def delete_completion(request: web.Request) -> web.Response:
    await nouns(request).completions.erase(
        workspace_of(request), path_id(request, "turn_id"), request.query.get("actor")
    )
    return web.Response(status=204)


ROUTES: Final = (
    web.get(WORKSPACE + "/completions", get_completions),
    web.post(COMPLETION, post_completion),
    web.delete(COMPLETION, delete_completion),
)
