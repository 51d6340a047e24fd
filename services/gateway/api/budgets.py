"""Budgets: how much a workspace, an agent, a key or an end user may use per day and per month."""

from typing import Final

from aiohttp import web

from services.gateway.call import Call, Route
from services.gateway.edge.params import CURSOR, LIMIT, OWN_BODY
from services.gateway.edge.replies import data_response, page_response
from services.gateway.edge.route import Reply
from services.gateway.edge.validation import json_body, page_query
from shared.contracts.budgets import Budget, PutBudget, StoreBudget, Subject, subject_of
from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import Scope

_PATH: Final = "/budgets/{subject}"


def subject(call: Call) -> Subject:
    """Of the path. Whatever names no subject has no budget."""
    if (found := subject_of(call.request.match_info["subject"])) is None:
        raise ApiError(Code.NOT_FOUND, "The subject is workspace, agent:<id>, key:<id> or endUser:<id>.")
    return found


async def list_all(call: Call) -> web.StreamResponse:
    return page_response(await call.dependencies.history.budgets(call.workspace, page_query(call.request.query)))


async def get(call: Call) -> web.StreamResponse:
    return data_response((await call.dependencies.history.budget(call.workspace, subject(call))).wire())


async def put(call: Call) -> web.StreamResponse:
    whose, body = subject(call), await json_body(call.request, PutBudget)
    order = StoreBudget(day=body.day, month=body.month, actor=call.principal.key_id)
    return data_response((await call.dependencies.history.put_budget(call.workspace, whose, order)).wire())


async def remove(call: Call) -> web.StreamResponse:
    await call.dependencies.history.remove_budget(call.workspace, subject(call), call.principal.key_id)
    return web.Response(status=204)


ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="GET",
        path="/budgets",
        serve=list_all,
        scope=Scope.USAGE_READ,
        summary="List budgets with what is used of them, at most 50 a page",
        params=(LIMIT, CURSOR),
        replies={200: (Reply("a page of budgets", Budget, paged=True),)},
    ),
    Route(
        method="GET",
        path=_PATH,
        serve=get,
        scope=Scope.USAGE_READ,
        summary="Get the budget of a subject: `workspace`, `agent:<id>`, `key:<id>` or `endUser:<id>`",
        replies={200: (Reply("the budget, and what is used of it", Budget),)},
        errors=(Code.NOT_FOUND,),
    ),
    Route(
        method="PUT",
        path=_PATH,
        serve=put,
        scope=Scope.BUDGETS_WRITE,
        summary="Set the budget of a subject; a limit that is below what is used refuses turns from then on",
        request=PutBudget,
        replies={200: (Reply("the budget, and what is used of it", Budget),)},
        errors=(*OWN_BODY, Code.NOT_FOUND, Code.AGENT_NOT_FOUND),
    ),
    Route(
        method="DELETE",
        path=_PATH,
        serve=remove,
        scope=Scope.BUDGETS_WRITE,
        summary="Remove the budget of a subject",
        replies={204: (Reply("removed"),)},
        errors=(Code.NOT_FOUND,),
    ),
)
