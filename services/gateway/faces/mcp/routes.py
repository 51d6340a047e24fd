"""The routes of the MCP server, and the JSON schemas of what they take and give."""

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from services.gateway.call import Route
from services.gateway.edge.json_schema import object_of
from services.gateway.edge.params import STREAM
from services.gateway.edge.route import Param, Reply
from services.gateway.faces.mcp.connections import CONNECTION_HEADER
from services.gateway.faces.mcp.endpoint import post
from services.gateway.faces.mcp.resumption import resume
from services.gateway.faces.mcp.versions import SUPPORTED, VERSION_HEADER
from shared.contracts.errors import Code
from shared.contracts.keys import Scope

_RPC: Final[dict[str, Any]] = {"jsonrpc": {"const": "2.0"}}
_ID: Final = {"type": ["string", "integer", "null"]}
ERROR: Final = object_of(
    {**_RPC, "id": _ID, "error": object_of({"code": {"type": "integer"}, "message": {"type": "string"}}, {"data": {}})},
    None,
    "A JSON-RPC error. Its `data` is the problem document where the protocol has no code of its own.",
)
ANSWER: Final = {"anyOf": [object_of({**_RPC, "id": _ID, "result": {"type": "object"}}), ERROR]}
EVENTS: Final = object_of(
    {"data": {"type": "string", "description": "a notification of progress, or the answer, which is the last event"}}
)


class McpRequest(BaseModel):
    """A JSON-RPC request or notification. Its members beyond these are those of the protocol's revision."""

    model_config = ConfigDict(extra="allow")

    jsonrpc: str = Field(json_schema_extra={"const": "2.0"})
    id: str | int | None = None
    method: str
    params: dict[str, Any] = Field(default_factory=dict)


_VERSION: Final = Param(VERSION_HEADER, {"type": "string"}, f"one of {', '.join(SUPPORTED)}", "header")
_CONNECTION: Final = Param(
    CONNECTION_HEADER,
    {"type": "string"},
    "from the answer to `initialize`; needed to cancel with `notifications/cancelled`",
    "header",
)
_AFTER: Final = Param("Last-Event-ID", {"type": "string"}, "the last event that was received", "header")
_REFUSED: Final = Reply("a JSON-RPC error", ERROR, envelope=False)

ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="POST",
        path="/mcp",
        serve=post,
        scope=Scope.CHAT_WRITE,
        summary="Published agents as the tools of an MCP server",
        request=McpRequest,
        params=(_VERSION, _CONNECTION),
        replies={
            200: (
                Reply("the answer", ANSWER, envelope=False),
                Reply("notifications of progress, then the answer", EVENTS, envelope=False, media_type=STREAM),
            ),
            202: (Reply("a notification was received"),),
            **dict.fromkeys((400, 404, 408, 413, 415, 429, 500, 503), (_REFUSED,)),
        },
        errors=(
            Code.ORIGIN_NOT_ALLOWED,
            Code.NOT_FOUND,
            Code.REQUEST_TIMEOUT,
            Code.PAYLOAD_TOO_LARGE,
            Code.UNSUPPORTED_MEDIA_TYPE,
        ),
    ),
    Route(
        method="GET",
        path="/mcp",
        serve=resume,
        scope=Scope.CHAT_READ,
        summary="The rest of a call's stream, for MCP clients of revision 2025-11-25",
        params=(_AFTER,),
        replies={200: (Reply("the events after the last one", EVENTS, envelope=False, media_type=STREAM),)},
        errors=(Code.ORIGIN_NOT_ALLOWED, Code.TURN_NOT_FOUND, Code.METHOD_NOT_ALLOWED),
    ),
)
