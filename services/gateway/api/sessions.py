"""Sessions: create, list, get, end, delete, and their messages."""

from typing import Any

from aiohttp import web
from pydantic import Field

from services.gateway.edge.replies import data_response, page_response
from services.gateway.edge.route import Call
from services.gateway.edge.validation import Metadata, json_body, no_body, page_query, refused
from shared.contracts.errors import ApiError, Code
from shared.contracts.schema import PublicRequest
from shared.contracts.sessions import Session
from shared.ids import is_id, new_id


class CreateSession(PublicRequest):
    agent_id: str
    metadata: Metadata = Field(default_factory=dict)
    draft_mode: bool = Field(default=False, description="run the agent's draft, not its published version")


def session_id(call: Call) -> str:
    return call.path_id("sessionId", "ses", Code.SESSION_NOT_FOUND)


def shown(session: Session) -> dict[str, Any]:
    """All members, those without a value as null."""
    return session.model_dump(mode="json", by_alias=True)


async def create(call: Call) -> web.StreamResponse:
    body = await json_body(call.request, CreateSession)
    if not is_id("agt", body.agent_id):
        raise ApiError(Code.AGENT_NOT_FOUND)
    session = await call.dependencies.history.create_session(
        call.workspace, new_id("ses"), body.agent_id, body.metadata, body.draft_mode
    )
    return data_response(shown(session), status=201, headers={"Location": f"{call.request.path}/{session.id}"})


async def list_all(call: Call) -> web.StreamResponse:
    query = page_query(call.request.query, status=("active", "ended"))
    agent_id = call.request.query.get("agentId")
    if agent_id is not None:
        if not is_id("agt", agent_id):
            raise refused("agentId", "is not the id of an agent")
        query["agentId"] = agent_id
    page = await call.dependencies.history.sessions(call.workspace, query)
    items = [shown(Session.model_validate(item)) for item in page["items"]]
    return page_response({**page, "items": items})


async def get(call: Call) -> web.StreamResponse:
    return data_response(shown(await call.dependencies.history.session(call.workspace, session_id(call))))


async def messages(call: Call) -> web.StreamResponse:
    wanted = session_id(call)
    query = page_query(call.request.query, order=("asc", "desc"))
    return page_response(await call.dependencies.history.messages(call.workspace, wanted, query))


async def end(call: Call) -> web.StreamResponse:
    wanted = session_id(call)
    await no_body(call.request)
    return data_response(shown(await call.dependencies.history.end_session(call.workspace, wanted)))


async def delete(call: Call) -> web.StreamResponse:
    wanted = session_id(call)
    await no_body(call.request)
    await call.dependencies.history.delete_session(call.workspace, wanted)
    return data_response({"id": wanted, "deleted": True})
