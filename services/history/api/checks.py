"""An agent's checks and their runs over HTTP."""

from typing import Final

from aiohttp import web

from services.history.api.bodies import read_schema
from services.history.api.nouns import nouns
from services.history.api.paging import bad_cursor, cursor_of, cursor_values, limit_of, page_of
from services.history.api.paths import DRAFT, path_id, workspace_of
from shared.contracts.checks import PutChecks, RunChecks
from shared.contracts.schema import NAME_PATTERN
from shared.ids import is_id
from shared.web.bodies import json_response


async def get_checks(request: web.Request) -> web.Response:
    return json_response((await nouns(request).suites.read(*_agent(request))).wire())


async def put_checks(request: web.Request) -> web.Response:
    order = await read_schema(request, PutChecks)
    return json_response((await nouns(request).suites.put(*_agent(request), order)).wire())


async def post_run(request: web.Request) -> web.Response:
    order = await read_schema(request, RunChecks)
    runs = nouns(request).check_runs
    run = await runs.create(*_agent(request), order)
    return json_response((await runs.compared(run)).wire(), status=201)


async def get_runs(request: web.Request) -> web.Response:
    values = cursor_values(request, str)
    if values and not is_id("chk", values[0]):
        raise bad_cursor()
    before = values[0] if values else None
    runs, following = await nouns(request).check_runs.page(*_agent(request), before, limit_of(request))
    return json_response(page_of([run.wire() for run in runs], cursor_of([following]) if following else None))


async def get_run(request: web.Request) -> web.Response:
    run = await nouns(request).check_runs.read(*_agent(request), path_id(request, "run_id"))
    return json_response(run.wire())


def _agent(request: web.Request) -> tuple[str, str]:
    return workspace_of(request), path_id(request, "agent_id")


_CHECKS: Final = DRAFT + "/checks"
ROUTES: Final = (
    web.get(_CHECKS, get_checks),
    web.put(_CHECKS, put_checks),
    web.post(_CHECKS + "/runs", post_run),
    web.get(_CHECKS + "/runs", get_runs),
    web.get(rf"{_CHECKS}/runs/{{run_id:{NAME_PATTERN}}}", get_run),
)
