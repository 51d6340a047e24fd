"""The audit: who did what to which thing of the workspace."""

from typing import Final

from aiohttp import web

from services.gateway.call import Call, Route
from services.gateway.edge.params import CURSOR, LIMIT
from services.gateway.edge.replies import page_response
from services.gateway.edge.route import Reply
from services.gateway.edge.validation import page_query
from shared.contracts.agent_records import AuditRecord
from shared.contracts.keys import Scope


async def list_all(call: Call) -> web.StreamResponse:
    page = await call.dependencies.history.audit(call.workspace, page_query(call.request.query))
    items = [AuditRecord.model_validate(item).model_dump(mode="json", by_alias=True) for item in page["items"]]
    return page_response({**page, "items": items})


ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="GET",
        path="/audit",
        serve=list_all,
        scope=Scope.AUDIT_READ,
        summary="List audit records, newest first",
        params=(LIMIT, CURSOR),
        replies={200: (Reply("a page of records", AuditRecord, paged=True),)},
    ),
)
