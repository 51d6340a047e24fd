"""Published agents as OpenAI's models."""

from typing import Any, Final

from aiohttp import web

from services.gateway.call import Call, Route
from services.gateway.completions.schemas import MODEL, MODELS
from services.gateway.edge.model_names import is_model
from services.gateway.edge.route import Param, Reply
from services.gateway.edge.validation import refused
from shared.contracts.agents import Agent
from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import Scope
from shared.contracts.schema import NAME_PATTERN
from shared.ids import is_name
from shared.web.bodies import json_response

MAX_MODELS: Final = 1000


def shown(agent: Agent) -> dict[str, Any]:
    return {"id": agent.id, "object": "model", "created": int(agent.created_at.timestamp()), "owned_by": "parley"}


async def list_all(call: Call) -> web.StreamResponse:
    """Bounded, because OpenAI's clients ask for no page: the newest, and `has_more` where there are others."""
    query = call.request.query
    limit, after = _limit(query.get("limit")), query.get("after")
    if after is not None and not is_name(after):
        raise refused("after", "must be the id of a model")
    agents, has_more = await call.dependencies.history.published_agents(call.workspace, after, limit)
    ids = [agent.id for agent in agents]
    edges = {"first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None, "has_more": has_more}
    return json_response({"object": "list", "data": [shown(agent) for agent in agents], **edges})


def _limit(text: str | None) -> int:
    if text is None:
        return MAX_MODELS
    if not (text.isascii() and text.isdecimal() and len(text) <= 4 and 1 <= int(text) <= MAX_MODELS):
        raise refused("limit", f"must be an integer from 1 to {MAX_MODELS}")
    return int(text)


async def get(call: Call) -> web.StreamResponse:
    model = call.request.match_info["model"]
    if not is_model(model):
        raise ApiError(Code.MODEL_NOT_FOUND)
    agent_id, _ = await call.dependencies.history.resolve_model(call.workspace, model)
    try:
        return json_response(shown(await call.dependencies.history.published_agent(call.workspace, agent_id)))
    except ApiError as error:
        raise (ApiError(Code.MODEL_NOT_FOUND) if error.code is Code.AGENT_NOT_FOUND else error) from None


ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="GET",
        path="/models",
        serve=list_all,
        scope=Scope.CHAT_READ,
        summary="Published agents, as models",
        params=(
            Param("limit", {"type": "integer", "minimum": 1, "maximum": MAX_MODELS, "default": MAX_MODELS}, "how many"),
            Param("after", {"type": "string", "pattern": f"^{NAME_PATTERN}$"}, "`last_id` of the page before"),
        ),
        replies={200: (Reply("a page of them, newest first", MODELS, envelope=False),)},
        openai=True,
    ),
    Route(
        method="GET",
        path="/models/{model}",
        serve=get,
        scope=Scope.CHAT_READ,
        summary="A published agent, as a model",
        replies={200: (Reply("the model", MODEL, envelope=False),)},
        errors=(Code.MODEL_NOT_FOUND,),
        openai=True,
    ),
)
