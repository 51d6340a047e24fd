"""End users: all that is held of one is exported, or erased with a receipt."""

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, Final

from aiohttp import web

from services.gateway.api.line_export import NDJSON, line, send_lines
from services.gateway.api.receipts import RECEIPT, receipt
from services.gateway.api.session_export import SESSIONS_PER_READ, TURNS_PER_READ, session_lines
from services.gateway.call import Call, Route
from services.gateway.edge.json_schema import COUNT, TEXT, Named, object_of
from services.gateway.edge.params import BODY, CURSOR, LIMIT
from services.gateway.edge.replies import data_response, page_response
from services.gateway.edge.route import Reply
from services.gateway.edge.validation import no_body, page_query, refused
from shared.contracts.end_users import MAX_END_USER, EndUserErasure, EraseEndUser
from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import Scope
from shared.ids import new_id

LINE: Final = Named(
    "EndUserExportLine",
    object_of(
        {"type": {"enum": ["endUser", "session", "turn", "completion", "end"]}},
        {
            "id": TEXT,
            "session": {"$ref": "#/components/schemas/Session"},
            "sessionId": TEXT,
            **RECEIPT["properties"],
            "sessions": COUNT,
            "turns": COUNT,
            "completions": COUNT,
        },
        "One line. `endUser` comes first. A `session` line is followed by the `turn` lines of that session; then come"
        " the completions that named the end user. The `end` line comes last and counts them: an export without it is"
        " incomplete.",
    ),
)


def end_user(call: Call) -> str:
    """The caller's own name of somebody, so any text may be one."""
    text = call.request.match_info["endUserId"]
    if not 1 <= len(text) <= MAX_END_USER:
        raise refused("endUserId", f"must have 1 to {MAX_END_USER} characters")
    return text


def shown(erasure: EndUserErasure) -> dict[str, Any]:
    return erasure.model_dump(mode="json", by_alias=True)


async def erase(call: Call) -> web.StreamResponse:
    order = EraseEndUser(id=new_id("era"), end_user=end_user(call), actor=call.principal.key_id)
    await no_body(call.request)
    erasure = await call.dependencies.history.erase_end_user(call.workspace, order)
    base = call.request.path.partition("/end-users/")[0]
    return data_response(shown(erasure), status=202, headers={"Location": f"{base}/end-user-erasures/{erasure.id}"})


async def list_all(call: Call) -> web.StreamResponse:
    page = await call.dependencies.history.end_user_erasures(call.workspace, page_query(call.request.query))
    return page_response({**page, "items": [shown(EndUserErasure.model_validate(item)) for item in page["items"]]})


async def get(call: Call) -> web.StreamResponse:
    wanted = call.path_id("erasureId", "era", Code.NOT_FOUND)
    return data_response(shown(await call.dependencies.history.end_user_erasure(call.workspace, wanted)))


async def export(call: Call) -> web.StreamResponse:
    return await send_lines(call, _lines(call, end_user(call)))


async def _lines(call: Call, wanted: str) -> AsyncIterator[bytes]:
    """Raises ApiError, also when the gateway drains."""
    await call.dependencies.history.record_export(call.workspace, new_id("exp"), call.principal.key_id)
    yield line({"type": "endUser", "id": wanted})
    counts = Counter[str]()
    query = [("order", "asc"), ("limit", str(SESSIONS_PER_READ)), ("endUser", wanted)]
    async for data in session_lines(call, query, None, counts):
        yield data
    async for data in _completion_lines(call, wanted, counts):
        yield data
    yield line({"type": "end", **{name: counts[name] for name in ("sessions", "turns", "completions")}})


async def _completion_lines(call: Call, wanted: str, counts: Counter[str]) -> AsyncIterator[bytes]:
    after, history = None, call.dependencies.history
    while True:
        if call.dependencies.draining.is_set():
            raise ApiError(Code.DRAINING)
        found, after = await history.end_user_completions(call.workspace, wanted, after, TURNS_PER_READ)
        counts["completions"] += len(found)
        for stored in found:
            yield line({"type": "completion", **receipt(stored)})
        if after is None:
            return


ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="DELETE",
        path="/end-users/{endUserId}",
        serve=erase,
        scope=Scope.ENDUSERS_WRITE,
        summary="Erase all that is held of an end user; what was used stays counted, without content",
        replies={
            202: (
                Reply(
                    "the erasure; it goes on by itself", EndUserErasure, gives={"/end-user-erasures/{erasureId}": "id"}
                ),
            )
        },
        errors=(*BODY, Code.VALIDATION_FAILED, Code.NOT_FOUND),
    ),
    Route(
        method="GET",
        path="/end-users/{endUserId}/export",
        serve=export,
        scope=Scope.ENDUSERS_WRITE,
        summary="Export all that is held of an end user, as one JSON document a line",
        replies={200: (Reply("lines of JSON", LINE, envelope=False, media_type=NDJSON),)},
        errors=(Code.NOT_FOUND,),
    ),
    Route(
        method="GET",
        path="/end-user-erasures",
        serve=list_all,
        scope=Scope.ENDUSERS_WRITE,
        summary="List erasures of end users, newest first",
        params=(LIMIT, CURSOR),
        replies={200: (Reply("a page of erasures", EndUserErasure, paged=True),)},
    ),
    Route(
        method="GET",
        path="/end-user-erasures/{erasureId}",
        serve=get,
        scope=Scope.ENDUSERS_WRITE,
        summary="Get an erasure; with `status` `erased` it is the receipt",
        replies={200: (Reply("the erasure", EndUserErasure),)},
        errors=(Code.NOT_FOUND,),
    ),
)
