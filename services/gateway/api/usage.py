"""Usage: the tokens and cost of ended turns, by agent, key, model or day."""

from typing import Final

from aiohttp import web

from services.gateway.call import Call, Route
from services.gateway.edge.json_schema import COUNT, Named, object_of
from services.gateway.edge.params import CURSOR, LIMIT
from services.gateway.edge.replies import page_response
from services.gateway.edge.route import Param, Reply
from services.gateway.edge.validation import page_query
from shared.contracts.keys import Scope
from shared.contracts.usage import GROUPINGS, UsageRow

_GIVEN: Final = ("groupBy", "from", "to", "agentId", "keyId", "endUser")
_DAY: Final = {"type": "string", "format": "date"}

_ANSWER: Final = "a page of sums, in the order of the groups' names"
_PENDING: Final = Named(
    "UsagePending",
    {
        **object_of(
            {},
            {
                "turns": COUNT | {"description": "how many, counted up to 10,000"},
                "exactBefore": _DAY | {"description": "all of them ended on this day (UTC) or later"},
            },
            "Ended turns that the sums do not have yet, for example after an outage. Earlier days are exact. Each "
            "request adds some, and so does the service by itself. null: the sums have every turn that had ended. "
            "Without members: counting them took too long.",
        ),
        "type": ["object", "null"],
    },
)


async def get_usage(call: Call) -> web.StreamResponse:
    query = call.request.query
    given = {name: query[name] for name in _GIVEN if name in query}
    page = await call.dependencies.history.usage(call.workspace, {**page_query(query), **given})
    return page_response(page, {"pending": page.get("pending")})


ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="GET",
        path="/usage",
        serve=get_usage,
        scope=Scope.USAGE_READ,
        summary="Tokens and cost of ended turns, summed by agent, key, model or day",
        params=(
            Param("groupBy", {"enum": list(GROUPINGS), "default": "day"}, "what the sums are of"),
            Param("from", _DAY, "the first day (UTC); without it, 30 days up to `to`"),
            Param("to", _DAY, "the last day (UTC); without it, today"),
            Param("agentId", {"type": "string"}, "of this agent only"),
            Param("keyId", {"type": "string"}, "of turns that this key began"),
            Param("endUser", {"type": "string"}, "of this end user only"),
            LIMIT,
            CURSOR,
        ),
        replies={200: (Reply(_ANSWER, UsageRow, paged=True, beside={"pending": _PENDING}),)},
    ),
)
