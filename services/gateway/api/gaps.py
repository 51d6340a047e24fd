"""Gaps of an agent's knowledge: what users asked and its sources do not answer."""

from typing import Final

from aiohttp import web

from services.gateway.api.agents import agent_id
from services.gateway.call import Call, Route
from services.gateway.edge.replies import data_response
from services.gateway.edge.route import Param, Reply
from shared.contracts.errors import Code
from shared.contracts.gaps import KnowledgeGaps
from shared.contracts.keys import Scope


async def get_gaps(call: Call) -> web.StreamResponse:
    query = {name: text for name, text in call.request.query.items() if name in ("days", "reason")}
    return data_response((await call.dependencies.history.knowledge_gaps(call.workspace, agent_id(call), query)).wire())


ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="GET",
        path="/agents/{agentId}/knowledge/gaps",
        serve=get_gaps,
        # The answer has texts of conversations, so it needs the scope that reads those.
        scope=Scope.AGENTS_READ,
        summary="Users' questions for which the agent's knowledge has nothing, grouped, the most frequent first",
        params=(
            Param("days", {"type": "integer", "minimum": 1, "maximum": 90, "default": 7}, "how many days to look back"),
            Param(
                "reason",
                {"enum": ["nothing_found", "nothing_cited", "any"], "default": "nothing_found"},
                "`nothing_cited`: passages were found and the answer names none; small talk is among these",
            ),
        ),
        replies={200: (Reply("the gaps", KnowledgeGaps),)},
        errors=(Code.AGENT_NOT_FOUND,),
    ),
)
