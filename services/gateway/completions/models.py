"""Published agents as OpenAI's models."""

import re
from typing import Any, Final

from aiohttp import web

from services.gateway.call import Call, Route
from services.gateway.completions.schemas import MODEL, MODELS
from services.gateway.edge.route import Reply
from shared.contracts.agents import Agent
from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import Scope
from shared.web.bodies import json_response

_MODEL: Final = re.compile(r"(agt_[0-9a-z]{26}|[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?)(@[1-9][0-9]{0,8})?")


def is_model(text: str) -> bool:
    """Whether a text has the shape of a `model`: an agent's id or slug, with `@n` for one of its versions."""
    return _MODEL.fullmatch(text) is not None


def shown(agent: Agent) -> dict[str, Any]:
    return {"id": agent.id, "object": "model", "created": int(agent.created_at.timestamp()), "owned_by": "parley"}


async def list_all(call: Call) -> web.StreamResponse:
    agents = await call.dependencies.history.published_agents(call.workspace)
    return json_response({"object": "list", "data": [shown(agent) for agent in agents]})


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
        replies={200: (Reply("all of them", MODELS, envelope=False),)},
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
