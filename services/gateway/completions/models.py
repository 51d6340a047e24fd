"""Published agents as OpenAI's models."""

from typing import Any

from aiohttp import web

from services.gateway.edge.route import Call
from shared.contracts.agents import Agent
from shared.contracts.errors import ApiError, Code
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
