"""The paths of the internal API. Only ids of this form reach a query, or are joined with `:` into a document's id."""

from typing import Final

from aiohttp import web

from shared.contracts.schema import NAME_PATTERN

WORKSPACE: Final = rf"/workspaces/{{workspace:{NAME_PATTERN}}}"
AGENT: Final = rf"{WORKSPACE}/agents/{{agent_id:{NAME_PATTERN}}}"
DRAFT: Final = rf"{WORKSPACE}/drafts/{{agent_id:{NAME_PATTERN}}}"
KEY: Final = rf"{WORKSPACE}/keys/{{key_id:{NAME_PATTERN}}}"
SESSION: Final = rf"{WORKSPACE}/sessions/{{session_id:{NAME_PATTERN}}}"
TURN: Final = rf"{WORKSPACE}/turns/{{turn_id:{NAME_PATTERN}}}"
WEBHOOK: Final = rf"{WORKSPACE}/webhooks/{{webhook_id:{NAME_PATTERN}}}"
COMPLETION: Final = rf"{WORKSPACE}/completions/{{turn_id:{NAME_PATTERN}}}"


def workspace_of(request: web.Request) -> str:
    return request.match_info["workspace"]


def path_id(request: web.Request, name: str) -> str:
    """An id of the path; the route's pattern has checked it."""
    return request.match_info[name]
