"""Sources of knowledge as resources, of the agents whose published version shares them."""

import re
from typing import Any, Final

from services.gateway.call import Call
from services.gateway.faces.json_rpc import INVALID_PARAMS, RpcError
from services.gateway.faces.mcp.catalog import bounded, published_page
from services.gateway.faces.mcp.versions import Revision
from shared.contracts.agent_records import AgentRecord
from shared.contracts.errors import ApiError, Code
from shared.ids import is_id

# The code of clients of the handshake; since 2026-07-28 it is a parameter like any other.
_NOT_FOUND: Final = -32002
_URI: Final = re.compile(r"parley://agents/([^/]{1,64})/sources/([^/]{1,64})")
_TYPE: Final = "text/plain"


async def resources_page(call: Call, cursor: Any) -> dict[str, Any]:
    """`{resources, nextCursor?}`: those of a page of agents."""
    agents, following = await published_page(call, cursor)
    found = await bounded(agents, lambda agent: _of_agent(call, agent))
    resources = [resource for of_agent in found for resource in of_agent]
    return {"resources": resources, **({"nextCursor": following} if following else {})}


async def _of_agent(call: Call, agent: AgentRecord) -> list[dict[str, Any]]:
    assert agent.published_version is not None
    if not await _shares(call, agent.id, agent.published_version):
        return []
    sources = await call.dependencies.history.version_sources(call.workspace, agent.id, agent.published_version)
    return [
        {
            "uri": f"parley://agents/{agent.id}/sources/{source.id}",
            "name": source.title or source.id,
            "title": source.title or source.id,
            "description": f"A source of the knowledge of {agent.name}"
            + (f", from {source.url}" if source.url else ""),
            "mimeType": _TYPE,
        }
        for source in sources
    ]


async def _shares(call: Call, agent_id: str, number: int) -> bool:
    return (await call.dependencies.agents.shown(call.workspace, agent_id, number)).knowledge.share_sources


async def read_resource(call: Call, uri: Any, revision: Revision) -> dict[str, Any]:
    """`{contents}`. Raises RpcError also for a source whose agent does not share it."""
    found = _URI.fullmatch(uri) if isinstance(uri, str) else None
    if found is None or not is_id("agt", found[1]) or not is_id("src", found[2]):
        raise _absent(uri, revision)
    try:
        agent = await call.dependencies.history.published_agent(call.workspace, found[1])
        assert agent.published_version is not None
        if not await _shares(call, agent.id, agent.published_version):
            raise _absent(uri, revision)
        told = await call.dependencies.history.source_text(call.workspace, agent.id, agent.published_version, found[2])
    except ApiError as error:
        if error.code in (Code.AGENT_NOT_FOUND, Code.NOT_FOUND):
            raise _absent(uri, revision) from None
        raise
    content: dict[str, Any] = {"uri": uri, "mimeType": _TYPE, "text": told.text}
    return {"contents": [content | ({"_meta": {"parley/cut": True}} if told.is_cut else {})]}


def _absent(uri: Any, revision: Revision) -> RpcError:
    shown = uri[:500] if isinstance(uri, str) else None
    code = INVALID_PARAMS if revision.is_stateless else _NOT_FOUND
    return RpcError(code, "There is no such resource. resources/list has those of this key.", {"uri": shown})
