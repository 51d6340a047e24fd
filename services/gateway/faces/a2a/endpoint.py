"""Both bindings of A2A 1.0 at one address of each agent: JSON-RPC at the address itself, HTTP+JSON below it."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import orjson
from aiohttp import web

from services.gateway.call import Call
from services.gateway.faces.a2a.errors import (
    METHOD,
    NO_EXTENDED_CARD,
    PARAMS,
    PUSH_NOT_SUPPORTED,
    VERSION_NOT_SUPPORTED,
    A2aError,
    Kind,
    of_api,
)
from services.gateway.faces.a2a.messages import send_message, stream_message, subscribe
from services.gateway.faces.a2a.requests import GetTask, ListTasks, parsed, parsed_message
from services.gateway.faces.a2a.tasks import cancel_task, get_task, list_tasks
from services.gateway.faces.a2a.wire import rest_wire, rpc_wire
from services.gateway.faces.json_rpc import RpcError, RpcId, RpcRequest, parse_rpc
from shared.contracts.errors import ApiError, Code
from shared.web.bodies import json_response, parse_public_json, read_body

MEDIA_TYPE: Final = "application/a2a+json"
VERSION_HEADER: Final = "A2A-Version"
_JSON: Final = ("application/json", MEDIA_TYPE)
# The address itself is wrong: its errors are those of every route.
_OF_THE_ADDRESS: Final = (Code.AGENT_NOT_FOUND, Code.NO_PUBLISHED_VERSION)

Method = Callable[[Call, str, RpcRequest], Awaitable[dict[str, Any] | web.StreamResponse]]


def agent_of(call: Call) -> str:
    return call.path_id("agentId", "agt", Code.AGENT_NOT_FOUND)


def refuse_version(request: web.Request) -> None:
    """Clients of 0.3 send none (A2A 1.0, section 3.6)."""
    version = request.headers.get(VERSION_HEADER) or request.query.get(VERSION_HEADER) or ""
    if version != "1.0" and not version.startswith("1.0."):
        raise A2aError(
            VERSION_NOT_SUPPORTED,
            f"Send the header {VERSION_HEADER}: 1.0. No other version of A2A is spoken here.",
            {"supportedVersions": "1.0"},
        )


async def read_value(request: web.Request) -> Any:
    if request.content_type not in _JSON:
        raise ApiError(Code.UNSUPPORTED_MEDIA_TYPE, f"The body must be application/json or {MEDIA_TYPE}.")
    return parse_public_json(await read_body(request))


# --- JSON-RPC


async def post_rpc(call: Call) -> web.StreamResponse:
    request_id: RpcId | None = None
    try:
        request = parse_rpc(await read_value(call.request))
        request_id = request.id
        refuse_version(call.request)
        method = _METHODS.get(request.method)
        if method is None or request.id is None:
            raise A2aError(METHOD, f"There is no method {request.method}." if request.id else "A request needs an id.")
        found = await method(call, agent_of(call), request)
        return found if isinstance(found, web.StreamResponse) else json_response(request.result(found))
    except RpcError as error:
        return _rpc_refusal(A2aError(_kind_of(error), error.message), error.request_id)
    except A2aError as error:
        return _rpc_refusal(error, request_id)
    except ApiError as error:
        if error.code in _OF_THE_ADDRESS:
            raise
        return _rpc_refusal(of_api(error), request_id)


def _kind_of(error: RpcError) -> Kind:
    return PARAMS._replace(code=error.code, reason="INVALID_REQUEST")


def _rpc_refusal(error: A2aError, request_id: RpcId | None) -> web.Response:
    answer = error.rpc(request_id)
    return json_response(answer.wire(), status=answer.status, headers=answer.headers)


async def _send(call: Call, agent_id: str, request: RpcRequest) -> dict[str, Any]:
    return await send_message(call, agent_id, parsed_message(request.params))


async def _stream(call: Call, agent_id: str, request: RpcRequest) -> web.StreamResponse:
    return await stream_message(call, agent_id, parsed_message(request.params), rpc_wire(request.id))


async def _get(call: Call, agent_id: str, request: RpcRequest) -> dict[str, Any]:
    return await get_task(call, agent_id, parsed(GetTask, request.params))


async def _list(call: Call, agent_id: str, request: RpcRequest) -> dict[str, Any]:
    return await list_tasks(call, agent_id, parsed(ListTasks, request.params))


async def _cancel(call: Call, agent_id: str, request: RpcRequest) -> dict[str, Any]:
    return await cancel_task(call, agent_id, parsed(GetTask, request.params))


async def _subscribe(call: Call, agent_id: str, request: RpcRequest) -> web.StreamResponse:
    return await subscribe(call, agent_id, parsed(GetTask, request.params), rpc_wire(request.id))


async def _no_push(call: Call, agent_id: str, request: RpcRequest) -> dict[str, Any]:
    raise A2aError(PUSH_NOT_SUPPORTED, "Push notifications are not supported. Use SubscribeToTask.")


async def _no_extended_card(call: Call, agent_id: str, request: RpcRequest) -> dict[str, Any]:
    raise A2aError(NO_EXTENDED_CARD, "The agent's card has everything. There is no extended one.")


_METHODS: Final[Mapping[str, Method]] = {
    "SendMessage": _send,
    "SendStreamingMessage": _stream,
    "GetTask": _get,
    "ListTasks": _list,
    "CancelTask": _cancel,
    "SubscribeToTask": _subscribe,
    "GetExtendedAgentCard": _no_extended_card,
    **dict.fromkeys(
        [f"{verb}TaskPushNotificationConfig{plural}" for verb, plural in
         (("Create", ""), ("Get", ""), ("List", "s"), ("Delete", ""))],
        _no_push,
    ),
}  # fmt: skip


# --- HTTP+JSON


def rest(serve: Callable[[Call, str], Awaitable[dict[str, Any] | web.StreamResponse]]) -> Any:
    """A route of HTTP+JSON: checks the version, and answers errors as google.rpc.Status."""

    async def handle(call: Call) -> web.StreamResponse:
        try:
            refuse_version(call.request)
            found = await serve(call, agent_of(call))
        except A2aError as error:
            return json_response(error.rest(), status=error.kind.status, headers=error.headers)
        except ApiError as error:
            if error.code in _OF_THE_ADDRESS:
                raise
            told = of_api(error)
            return json_response(told.rest(), status=told.kind.status, headers=told.headers)
        if isinstance(found, web.StreamResponse):
            return found
        return web.Response(body=orjson.dumps(found), content_type=MEDIA_TYPE, charset="utf-8")

    return handle


async def _post_send(call: Call, agent_id: str) -> dict[str, Any]:
    return await send_message(call, agent_id, parsed_message(await read_value(call.request)))


async def _post_stream(call: Call, agent_id: str) -> web.StreamResponse:
    return await stream_message(call, agent_id, parsed_message(await read_value(call.request)), rest_wire())


async def _get_one(call: Call, agent_id: str) -> dict[str, Any]:
    return await get_task(call, agent_id, parsed(GetTask, _query(call)))


async def _get_list(call: Call, agent_id: str) -> dict[str, Any]:
    return await list_tasks(call, agent_id, parsed(ListTasks, _query(call)))


async def _post_cancel(call: Call, agent_id: str) -> dict[str, Any]:
    return await cancel_task(call, agent_id, parsed(GetTask, _query(call)))


async def _follow(call: Call, agent_id: str) -> web.StreamResponse:
    return await subscribe(call, agent_id, parsed(GetTask, _query(call)), rest_wire())


def _query(call: Call) -> dict[str, Any]:
    """The parameters of the URL as the members of a request: texts, which are read as numbers and booleans."""
    named = {"id": call.request.match_info["taskId"]} if "taskId" in call.request.match_info else {}
    return {**call.request.query, **named}


post_send, post_stream = rest(_post_send), rest(_post_stream)
get_one, get_list = rest(_get_one), rest(_get_list)
post_cancel, follow = rest(_post_cancel), rest(_follow)
