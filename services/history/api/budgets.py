"""Budgets over HTTP. The subject is one segment of the path: `workspace`, `agent:agt_…`, `key:key_…`, `endUser:…`."""

from typing import Final

from aiohttp import web

from services.history.api.bodies import read_schema
from services.history.api.nouns import nouns
from services.history.api.paging import bad_cursor, cursor_of, cursor_values, limit_of, page_of
from services.history.api.paths import WORKSPACE, workspace_of
from shared.contracts.budgets import StoreBudget, Subject, subject_of
from shared.contracts.errors import ApiError, Code
from shared.web.bodies import json_response

# Each budget that is shown costs a read of the ledger.
MAX_PAGE: Final = 50


async def get_budgets(request: web.Request) -> web.Response:
    workspace, values = workspace_of(request), cursor_values(request, str)
    if values and not values[0].startswith(f"{workspace}:"):
        raise bad_cursor()
    limit = min(limit_of(request), MAX_PAGE)
    found, following = await nouns(request).budgets.page(workspace, values[0] if values else None, limit)
    return json_response(page_of([budget.wire() for budget in found], cursor_of([following]) if following else None))


async def get_budget(request: web.Request) -> web.Response:
    return json_response((await nouns(request).budgets.get(workspace_of(request), _subject(request))).wire())


async def put_budget(request: web.Request) -> web.Response:
    order = await read_schema(request, StoreBudget)
    return json_response((await nouns(request).budgets.put(workspace_of(request), _subject(request), order)).wire())


async def delete_budget(request: web.Request) -> web.Response:
    await nouns(request).budgets.remove(workspace_of(request), _subject(request), request.query.get("actor"))
    return web.Response(status=204)


def _subject(request: web.Request) -> Subject:
    if (subject := subject_of(request.match_info["subject"])) is None:
        raise ApiError(Code.NOT_FOUND)
    return subject


_BUDGET: Final = WORKSPACE + "/budgets/{subject}"
ROUTES: Final = (
    web.get(WORKSPACE + "/budgets", get_budgets),
    web.get(_BUDGET, get_budget),
    web.put(_BUDGET, put_budget),
    web.delete(_BUDGET, delete_budget),
)
