"""A preview of retrieval: what a question finds in an agent's knowledge. A worker searches, as for a turn."""

import time
from typing import Final

from aiohttp import web
from pydantic import Field

from services.gateway.api.agents import agent_id
from services.gateway.call import Call, Route
from services.gateway.edge.params import OWN_BODY
from services.gateway.edge.replies import data_response
from services.gateway.edge.route import Reply
from services.gateway.edge.validation import json_body
from shared.contracts.errors import Code
from shared.contracts.keys import Scope
from shared.contracts.previews import KnowledgePreview, PreviewOrder
from shared.contracts.schema import PublicRequest
from shared.ids import new_id

# The first search in a large draft builds an index, which takes seconds.
ANSWERED_WITHIN_S: Final = 15.0


class PreviewKnowledge(PublicRequest):
    """`version`: null for the draft with its sources as they are now."""

    query: str = Field(min_length=1, max_length=4_000)
    top_k: int = Field(default=4, ge=1, le=20)
    version: int | None = Field(default=None, ge=1, le=999_999_999)


async def post_preview(call: Call) -> web.StreamResponse:
    wanted = agent_id(call)
    body = await json_body(call.request, PreviewKnowledge)
    history = call.dependencies.history
    # So that an absent agent or version is told as everywhere else, whether a worker is there or not.
    if body.version is None:
        await history.draft(call.workspace, wanted)
    else:
        await history.version_record(call.workspace, wanted, body.version)
    order = PreviewOrder(
        id=new_id("req"),
        workspace=call.workspace,
        agent_id=wanted,
        version=body.version or 0,
        query=body.query,
        top_k=body.top_k,
        deadline_ms=int((time.time() + ANSWERED_WITHIN_S) * 1000),
    )
    return data_response((await call.dependencies.previews.ask(order)).model_dump(mode="json", by_alias=True))


ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="POST",
        path="/agents/{agentId}/knowledge/preview",
        serve=post_preview,
        scope=Scope.AGENTS_READ,
        summary="Preview what a question finds in an agent's knowledge, and what the model would be shown of it",
        request=PreviewKnowledge,
        replies={200: (Reply("the passages, best first, and the prompt's part", KnowledgePreview),)},
        errors=(*OWN_BODY, Code.AGENT_NOT_FOUND, Code.NOT_FOUND, Code.OVERLOADED, Code.DEPENDENCY_UNAVAILABLE),
    ),
)
