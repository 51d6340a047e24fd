"""End users over HTTP: their erasures, and what an export reads beside their sessions."""

from typing import Final

from aiohttp import web
from pydantic import BaseModel, Field

from services.history.api.bodies import read_schema
from services.history.api.nouns import nouns
from services.history.api.paging import bad_cursor, cursor_of, cursor_values, limit_of, page_of
from services.history.api.paths import WORKSPACE, path_id, workspace_of
from shared.contracts.end_users import MAX_END_USER, EraseEndUser
from shared.contracts.errors import ApiError, Code
from shared.contracts.schema import NAME_PATTERN
from shared.ids import is_id
from shared.web.bodies import json_response


class Export(BaseModel):
    id: str = Field(pattern=f"^{NAME_PATTERN}$")
    actor: str | None = None


async def post_erasure(request: web.Request) -> web.Response:
    order = await read_schema(request, EraseEndUser)
    erasure = await nouns(request).end_user_erasures.request(workspace_of(request), order)
    return json_response(erasure.wire(), status=202)


async def get_erasures(request: web.Request) -> web.Response:
    values = cursor_values(request, str)
    if values and not is_id("era", values[0]):
        raise bad_cursor()
    found, following = await nouns(request).end_user_erasures.page(
        workspace_of(request), values[0] if values else None, limit_of(request)
    )
    return json_response(page_of([each.wire() for each in found], cursor_of([following]) if following else None))


async def get_erasure(request: web.Request) -> web.Response:
    erasure = await nouns(request).end_user_erasures.read(workspace_of(request), path_id(request, "erasure_id"))
    return json_response(erasure.wire())


async def get_completions(request: web.Request) -> web.Response:
    end_user, after = request.query.get("endUser", ""), request.query.get("after")
    if not 1 <= len(end_user) <= MAX_END_USER:
        raise ApiError(Code.INVALID_REQUEST, "endUser must be the id of an end user.", param="endUser")
    if after is not None and not is_id("trn", after):
        raise ApiError(Code.INVALID_REQUEST, "after must be the id of a completion.", param="after")
    found, following = await nouns(request).holdings.completions(
        workspace_of(request), end_user, after, limit_of(request)
    )
    return json_response(page_of([stored.wire() for stored in found], following))


async def post_export(request: web.Request) -> web.Response:
    export = await read_schema(request, Export)
    await nouns(request).holdings.record_export(workspace_of(request), export.id, export.actor)
    return web.Response(status=204)


_ERASURES: Final = WORKSPACE + "/end-user-erasures"
ROUTES: Final = (
    web.post(_ERASURES, post_erasure),
    web.get(_ERASURES, get_erasures),
    web.get(rf"{_ERASURES}/{{erasure_id:{NAME_PATTERN}}}", get_erasure),
    web.get(WORKSPACE + "/end-user-completions", get_completions),
    web.post(WORKSPACE + "/end-user-exports", post_export),
)
