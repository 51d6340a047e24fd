"""Agents and their versions over HTTP."""

from typing import Final

from aiohttp import web
from pydantic import BaseModel

from services.history.api.bodies import read_schema
from services.history.api.nouns import nouns
from services.history.api.paging import bad_cursor, limit_of, page_of
from services.history.api.paths import AGENT, WORKSPACE, path_id, workspace_of
from shared.contracts.agent_records import PublishOrder
from shared.contracts.agents import AgentConfig, AgentVersion, Passage
from shared.contracts.schema import NAME_PATTERN
from shared.ids import is_name
from shared.web.bodies import json_response

# A list of models has one page in most workspaces.
MAX_AGENTS: Final = 1000


class Publication(BaseModel):
    passages: tuple[Passage, ...] = ()


async def get_published_agents(request: web.Request) -> web.Response:
    before = request.query.get("before")
    if before is not None and not is_name(before):
        raise bad_cursor()
    agents, following = await nouns(request).agents.published(
        workspace_of(request), before, limit_of(request, MAX_AGENTS)
    )
    return json_response(page_of([agent.wire() for agent in agents], following))


async def get_resolved(request: web.Request) -> web.Response:
    """The agent's id and version that the `model` of a completion names."""
    agent_id, number = await nouns(request).versions.resolve(workspace_of(request), request.query.get("model", ""))
    return json_response({"agentId": agent_id, "version": number})


async def put_agent(request: web.Request) -> web.Response:
    config = await read_schema(request, AgentConfig)
    agent = await nouns(request).agents.put(workspace_of(request), path_id(request, "agent_id"), config)
    return json_response(agent.wire())


async def get_published_agent(request: web.Request) -> web.Response:
    agent = await nouns(request).agents.published_one(workspace_of(request), path_id(request, "agent_id"))
    return json_response(agent.wire())


async def post_publish_with_passages(request: web.Request) -> web.Response:
    """The operator's publishing: with passages of its own, which the caller sends whole."""
    body = await read_schema(request, Publication)
    workspace, agent_id = workspace_of(request), path_id(request, "agent_id")
    record = await nouns(request).publishing.publish(workspace, agent_id, PublishOrder(), body.passages)
    return json_response((await nouns(request).versions.read(workspace, agent_id, record.number)).wire())


async def get_version(request: web.Request) -> web.Response:
    return json_response((await _version(request)).wire())


async def get_passages(request: web.Request) -> web.Response:
    number = int(path_id(request, "number"))
    passages = await nouns(request).versions.passages(workspace_of(request), path_id(request, "agent_id"), number)
    return json_response([passage.wire() for passage in passages])


async def get_version_sources(request: web.Request) -> web.Response:
    number = int(path_id(request, "number"))
    sources = await nouns(request).versions.sources(workspace_of(request), path_id(request, "agent_id"), number)
    return json_response([source.wire() for source in sources])


async def get_source_text(request: web.Request) -> web.Response:
    number, source_id = int(path_id(request, "number")), path_id(request, "source_id")
    text = await nouns(request).versions.source_text(
        workspace_of(request), path_id(request, "agent_id"), number, source_id
    )
    return json_response(text.wire())


async def _version(request: web.Request) -> AgentVersion:
    number = int(path_id(request, "number"))
    return await nouns(request).versions.read(workspace_of(request), path_id(request, "agent_id"), number)


_VERSION: Final = AGENT + r"/versions/{number:\d{1,9}}"
ROUTES: Final = (
    web.get(WORKSPACE + "/agents", get_published_agents),
    web.get(WORKSPACE + "/resolved-model", get_resolved),
    web.put(AGENT, put_agent),
    web.get(AGENT, get_published_agent),
    web.post(AGENT + "/publish", post_publish_with_passages),
    web.get(_VERSION, get_version),
    web.get(_VERSION + "/passages", get_passages),
    web.get(_VERSION + "/sources", get_version_sources),
    web.get(_VERSION + rf"/sources/{{source_id:{NAME_PATTERN}}}/text", get_source_text),
)
