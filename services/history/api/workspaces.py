"""Workspaces over HTTP, for the command line of an operator."""

from typing import Final

from aiohttp import web

from services.history.api.bodies import read_schema
from services.history.api.nouns import nouns
from services.history.api.paging import bad_cursor, cursor_of, cursor_values, limit_of, page_of
from services.history.api.paths import WORKSPACE, workspace_of
from shared.contracts.workspaces import ChangeWorkspace, NewWorkspace
from shared.ids import is_name
from shared.web.bodies import json_response


async def post_workspace(request: web.Request) -> web.Response:
    workspace = await nouns(request).workspaces.create((await read_schema(request, NewWorkspace)).name)
    return json_response(workspace.wire(), status=201)


async def get_workspaces(request: web.Request) -> web.Response:
    values = cursor_values(request, str)
    if values and not is_name(values[0]):
        raise bad_cursor()
    found, following = await nouns(request).workspaces.page(values[0] if values else None, limit_of(request))
    cursor = cursor_of([following]) if following else None
    return json_response(page_of([workspace.wire() for workspace in found], cursor))


async def get_workspace(request: web.Request) -> web.Response:
    return json_response((await nouns(request).workspaces.get(workspace_of(request))).wire())


async def patch_workspace(request: web.Request) -> web.Response:
    change = await read_schema(request, ChangeWorkspace)
    return json_response((await nouns(request).workspaces.change(workspace_of(request), change)).wire())


async def delete_workspace(request: web.Request) -> web.Response:
    workspace = await nouns(request).workspaces.delete(workspace_of(request))
    return json_response(workspace.wire(), status=202)


ROUTES: Final = (
    web.post("/workspaces", post_workspace),
    web.get("/workspaces", get_workspaces),
    web.get(WORKSPACE, get_workspace),
    web.patch(WORKSPACE, patch_workspace),
    web.delete(WORKSPACE, delete_workspace),
)
