"""The card of an agent: what it is called, what it can do, and where and how it is asked."""

import hashlib
from typing import Any, Final

import orjson
from aiohttp import web

from services.gateway.call import Call
from shared.contracts.agents import AgentConfig
from shared.contracts.errors import Code

VERSION: Final = "1.0"
BINDINGS: Final = ("JSONRPC", "HTTP+JSON")
_MODES: Final = ["text/plain"]
_SECURITY: Final = "key"
# A newly published version may be seen so late.
_KEPT_S: Final = 60


def card_of(agent: AgentConfig, number: int, url: str, documentation: str) -> dict[str, Any]:
    """Pure. `url`: of the agent's interface, which is the same for both bindings."""
    about = agent.description.strip() or f"The agent {agent.name}."
    skill: dict[str, Any] = {"id": "chat", "name": agent.name, "description": about, "tags": ["chat"]}
    if agent.suggested_questions:
        skill["examples"] = list(agent.suggested_questions)
    return {
        "name": agent.name,
        "description": about,
        "version": str(number),
        "documentationUrl": documentation,
        "supportedInterfaces": [
            {"url": url, "protocolBinding": binding, "protocolVersion": VERSION} for binding in BINDINGS
        ],
        "capabilities": {"streaming": True, "pushNotifications": False, "extendedAgentCard": False},
        "defaultInputModes": _MODES,
        "defaultOutputModes": _MODES,
        "skills": [skill],
        "securitySchemes": {
            _SECURITY: {"httpAuthSecurityScheme": {"scheme": "Bearer", "description": "a secret key of the workspace"}}
        },
        "securityRequirements": [{"schemes": {_SECURITY: {"list": []}}}],
    }


async def get_card(call: Call) -> web.StreamResponse:
    agent_id = call.path_id("agentId", "agt", Code.AGENT_NOT_FOUND)
    number = (await call.dependencies.history.published_agent(call.workspace, agent_id)).published_version
    assert number is not None
    agent = await call.dependencies.agents.shown(call.workspace, agent_id, number)
    base = call.dependencies.settings.public_url or str(call.request.url.origin())
    path = call.request.path.partition("/.well-known/")[0]
    body = orjson.dumps(card_of(agent, number, base + path, f"{base}/docs/a2a"))
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": f"private, max-age={_KEPT_S}"}
    if tag in call.request.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers=headers)
    return web.Response(body=body, headers=headers, content_type="application/json", charset="utf-8")
