"""Published agents as OpenAI's models."""

from typing import Any, Final

from aiohttp import web

from services.gateway.call import Call, Route
from services.gateway.completions.schemas import MODEL, MODELS
from services.gateway.edge.route import Reply
from shared.contracts.agents import Agent
from shared.contracts.errors import ApiError, Code
from shared.contracts.keys import Scope
from shared.web.bodies import json_response


def shown(agent: Agent) -> dict[str, Any]:
    return {"id": agent.id, "object": "model", "created": int(agent.created_at.timestamp()), "owned_by": "parley"}


async def list_all(call: Call) -> web.StreamResponse:
    agents = await call.dependencies.history.published_agents(call.workspace)
    return json_response({"object": "list", "data": [shown(agent) for agent in agents]})


async def get(call: Call) -> web.StreamResponse:
    agent_id = call.path_id("model", "agt", Code.MODEL_NOT_FOUND)
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
