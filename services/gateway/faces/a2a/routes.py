"""The routes of A2A, and the JSON schemas of what they take and give."""

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from services.gateway.call import Route
from services.gateway.edge.json_schema import TEXT, object_of
from services.gateway.edge.params import STREAM
from services.gateway.edge.route import Param, Reply
from services.gateway.faces.a2a.card import get_card
from services.gateway.faces.a2a.endpoint import (
    MEDIA_TYPE,
    VERSION_HEADER,
    follow,
    get_list,
    get_one,
    post_cancel,
    post_rpc,
    post_send,
    post_stream,
)
from services.gateway.faces.a2a.requests import MAX_PAGE, SendMessage
from shared.contracts.errors import Code
from shared.contracts.keys import Scope

_BASE: Final = "/agents/{agentId}/a2a"
_RPC: Final[dict[str, Any]] = {"jsonrpc": {"const": "2.0"}, "id": {"type": ["string", "integer", "null"]}}
_LIST: Final = {"type": "array", "items": {}}
_NUMBER: Final = {"type": "integer"}
_STATUS: Final = object_of({"state": {"type": "string", "pattern": "^TASK_STATE_"}}, {"timestamp": TEXT, "message": {}})
TASK: Final = object_of(
    {"id": TEXT, "contextId": TEXT, "status": _STATUS},
    {"artifacts": _LIST, "history": _LIST, "metadata": {"type": "object"}},
)
TASKS: Final = object_of(
    {"tasks": {"type": "array", "items": TASK}, "nextPageToken": TEXT, "pageSize": _NUMBER, "totalSize": _NUMBER}
)
ERROR: Final = object_of(
    {"error": object_of({"code": _NUMBER, "status": TEXT, "message": TEXT, "details": _LIST})},
    None,
    "A google.rpc.Status. `details[0].reason` is the error of A2A.",
)
RPC_ANSWER: Final = {
    "anyOf": [
        object_of({**_RPC, "result": {"type": "object"}}),
        object_of({**_RPC, "error": object_of({"code": _NUMBER, "message": TEXT}, {"data": _LIST})}),
    ]
}
CARD: Final = object_of(
    {
        "name": TEXT,
        "description": TEXT,
        "version": TEXT,
        "supportedInterfaces": _LIST,
        "capabilities": {"type": "object"},
        "skills": _LIST,
    }
)
EVENTS: Final = object_of({"data": {"type": "string", "description": "a task first, then its updates to its end"}})


class A2aRequest(BaseModel):
    """A JSON-RPC request of A2A 1.0."""

    model_config = ConfigDict(extra="allow")

    jsonrpc: str = Field(json_schema_extra={"const": "2.0"})
    id: str | int
    method: str
    params: dict[str, Any] = Field(default_factory=dict)


VERSION: Final = Param(
    VERSION_HEADER, {"type": "string", "enum": ["1.0"]}, "required; also as a query parameter", "header"
)
_LENGTH: Final = Param("historyLength", {"type": "integer", "minimum": 0}, "how many messages of the task's history")
_REFUSED: Final = Reply("an error of A2A", ERROR, envelope=False)
_REFUSALS: Final = dict.fromkeys((400, 404, 408, 409, 413, 415, 429, 500, 503), (_REFUSED,))
_ADDRESS: Final = (Code.AGENT_NOT_FOUND, Code.NO_PUBLISHED_VERSION)
_ONE: Final = Reply("the task", TASK, envelope=False, media_type=MEDIA_TYPE)
_SENT: Final = Reply("the task at its end", object_of({"task": TASK}), envelope=False, media_type=MEDIA_TYPE)
_STREAMED: Final = Reply("the task and its updates", EVENTS, envelope=False, media_type=STREAM)


def _route(name: str, method: str, path: str, serve: Any, summary: str, reply: Reply, **more: Any) -> Route:
    """A route of HTTP+JSON."""
    return Route(
        operation=name,
        method=method,
        path=_BASE + path,
        serve=serve,
        scope=Scope.CHAT_READ if method == "GET" else Scope.CHAT_WRITE,
        summary=summary,
        replies={200: (reply,), **_REFUSALS},
        params=(VERSION, *more.pop("params", ())),
        errors=_ADDRESS,
        **more,
    )


ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="GET",
        path=_BASE + "/.well-known/agent-card.json",
        operation="getAgentCard",
        serve=get_card,
        scope=Scope.CHAT_READ,
        summary="The agent's card of A2A",
        replies={200: (Reply("the card", CARD, envelope=False),), 304: (Reply("the client has it"),)},
        errors=_ADDRESS,
    ),
    Route(
        method="POST",
        path=_BASE,
        operation="callAgent",
        serve=post_rpc,
        scope=Scope.CHAT_WRITE,
        summary="A2A 1.0 as JSON-RPC: messages, streams and tasks of an agent",
        request=A2aRequest,
        params=(VERSION,),
        replies={
            200: (
                Reply("the answer", RPC_ANSWER, envelope=False),
                Reply("answers with the task and its updates", EVENTS, envelope=False, media_type=STREAM),
            ),
            **dict.fromkeys((429, 500, 503), (Reply("a JSON-RPC error", RPC_ANSWER, envelope=False),)),
        },
        errors=_ADDRESS,
    ),
    _route(
        "sendTask",
        "POST",
        "/message:send",
        post_send,
        "Send a message; the task at its end",
        _SENT,
        request=SendMessage,
    ),
    _route(
        "streamTask", "POST", "/message:stream", post_stream, "Send a message; a stream", _STREAMED, request=SendMessage
    ),
    _route(
        "listTasks",
        "GET",
        "/tasks",
        get_list,
        "List tasks",
        Reply("a page of tasks", TASKS, envelope=False, media_type=MEDIA_TYPE),
        params=(
            Param("contextId", TEXT, "only of this context"),
            Param("status", {"type": "string", "pattern": "^TASK_STATE_"}, "only in this state"),
            Param("pageSize", {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": 50}, "how many"),
            Param("pageToken", TEXT, "`nextPageToken` of the page before"),
            Param("statusTimestampAfter", {"type": "string", "format": "date-time"}, "only later ones"),
            Param("includeArtifacts", {"enum": ["true", "false"]}, "with the answers"),
            _LENGTH,
        ),
    ),
    _route("followTask", "GET", "/tasks/{taskId}:subscribe", follow, "Follow a running task", _STREAMED),
    _route(
        "subscribeTask",
        "POST",
        "/tasks/{taskId}:subscribe",
        follow,
        "Follow a running task",
        _STREAMED,
        body_optional=True,
    ),
    _route("cancelTask", "POST", "/tasks/{taskId}:cancel", post_cancel, "Cancel a task", _ONE, body_optional=True),
    _route("getTask", "GET", "/tasks/{taskId}", get_one, "Get a task", _ONE, params=(_LENGTH,)),
)
