"""POST `/mcp`: one request of either generation of the protocol, and its answer."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from aiohttp import web

from services.gateway.call import Call
from services.gateway.faces.json_rpc import (
    METHOD_NOT_FOUND,
    RpcError,
    RpcId,
    RpcRequest,
    as_rpc,
    parse_rpc,
    unreadable,
)
from services.gateway.faces.mcp.calls import call_tool, cancel_turn
from services.gateway.faces.mcp.catalog import tools_page
from services.gateway.faces.mcp.connections import CONNECTION_HEADER, ids_of, is_connection, is_name, new_connection
from services.gateway.faces.mcp.origins import refuse_foreign_page
from services.gateway.faces.mcp.resources import read_resource, resources_page
from services.gateway.faces.mcp.versions import SERVER_INFO_KEY, SUPPORTED, Revision, agreed, revision_of
from shared.contracts.errors import ApiError, Code
from shared.version import VERSION
from shared.web.bodies import json_response, read_json

Method = Callable[[Call, RpcRequest, Revision], Awaitable[web.StreamResponse]]

# Agents are published now and then: a client may know of them as late as this.
LISTED_MS: Final = 60_000
DISCOVERED_MS: Final = 3_600_000
_SERVER: Final = {"name": "parley", "title": "Parley", "version": VERSION}
_CAPABILITIES: Final[dict[str, Any]] = {"tools": {}, "resources": {}}
_INSTRUCTIONS: Final = (
    "Each tool asks one conversational agent. Its answer brings a sessionId: pass it to go on with that conversation."
)


async def post(call: Call) -> web.StreamResponse:
    refuse_foreign_page(call.request, call.dependencies.settings.public_url)
    request_id: RpcId | None = None
    try:
        request = await _request(call)
        request_id = request.id
        return await _dispatch(call, request)
    except RpcError as error:
        return _refusal(error, request_id)
    except ApiError as error:
        return _refusal(as_rpc(error), request_id)


def _refusal(error: RpcError, request_id: RpcId | None) -> web.Response:
    if error.request_id is None:
        error.request_id = request_id
    return json_response(error.wire(), status=error.status, headers=error.headers)


async def _request(call: Call) -> RpcRequest:
    try:
        body = await read_json(call.request)
    except ApiError as error:
        raise unreadable(error) from None
    return parse_rpc(body)


async def _dispatch(call: Call, request: RpcRequest) -> web.StreamResponse:
    revision = revision_of(call.request.headers, request)
    _refuse_unknown_connection(call.request, revision)
    if request.id is None:
        return await _notified(call, request, revision)
    methods = _STATELESS if revision.is_stateless else _HANDSHAKE
    try:
        method = methods.get(request.method)
        if method is None:
            raise RpcError(METHOD_NOT_FOUND, f"There is no method {request.method}.", status=404)
        return await method(call, request, revision)
    except RpcError as error:
        if not revision.is_stateless:
            error.status = 200  # Clients of the handshake read no body of another status.
        raise


def _refuse_unknown_connection(request: web.Request, revision: Revision) -> None:
    """404 makes a client of the handshake begin anew."""
    connection = request.headers.get(CONNECTION_HEADER)
    if not revision.is_stateless and connection is not None and not is_connection(connection):
        raise as_rpc(ApiError(Code.NOT_FOUND, f"This {CONNECTION_HEADER} is not known. Begin with initialize."))


async def _notified(call: Call, request: RpcRequest, revision: Revision) -> web.Response:
    """Nothing is answered to a notification. All but a cancellation are about what is not kept here."""
    connection, cancelled = call.request.headers.get(CONNECTION_HEADER), request.params.get("requestId")
    is_cancel = request.method == "notifications/cancelled" and not revision.is_stateless
    if is_cancel and connection is not None and is_name(cancelled):
        assert cancelled is not None
        await cancel_turn(call, ids_of(connection, call.principal.key_id, cancelled).turn)
    return web.Response(status=202)


async def _initialize(call: Call, request: RpcRequest, revision: Revision) -> web.Response:
    answer = {
        "protocolVersion": agreed(request.params.get("protocolVersion")),
        "capabilities": _CAPABILITIES,
        "serverInfo": _SERVER,
        "instructions": _INSTRUCTIONS,
    }
    return json_response(request.result(answer), headers={CONNECTION_HEADER: new_connection()})


async def _discover(call: Call, request: RpcRequest, revision: Revision) -> web.Response:
    answer = {
        "supportedVersions": list(SUPPORTED),
        "capabilities": _CAPABILITIES,
        "instructions": _INSTRUCTIONS,
        "_meta": {SERVER_INFO_KEY: _SERVER},
    }
    return json_response(request.result(revision.cacheable(answer, DISCOVERED_MS)))


async def _ping(call: Call, request: RpcRequest, revision: Revision) -> web.Response:
    return json_response(request.result({}))


async def _list_tools(call: Call, request: RpcRequest, revision: Revision) -> web.Response:
    page = await tools_page(call, request.params.get("cursor"))
    return json_response(request.result(revision.cacheable(page, LISTED_MS)))


async def _list_resources(call: Call, request: RpcRequest, revision: Revision) -> web.Response:
    page = await resources_page(call, request.params.get("cursor"))
    return json_response(request.result(revision.cacheable(page, LISTED_MS)))


async def _list_templates(call: Call, request: RpcRequest, revision: Revision) -> web.Response:
    return json_response(request.result(revision.cacheable({"resourceTemplates": []}, DISCOVERED_MS)))


async def _read_resource(call: Call, request: RpcRequest, revision: Revision) -> web.Response:
    contents = await read_resource(call, request.params.get("uri"), revision)
    # Not kept by clients: a purged source must not be read any more.
    return json_response(request.result(revision.cacheable(contents, 0)))


_BOTH: Final[Mapping[str, Method]] = {
    "tools/list": _list_tools,
    "tools/call": call_tool,
    "resources/list": _list_resources,
    "resources/templates/list": _list_templates,
    "resources/read": _read_resource,
}
_STATELESS: Final[Mapping[str, Method]] = {**_BOTH, "server/discover": _discover}
_HANDSHAKE: Final[Mapping[str, Method]] = {**_BOTH, "initialize": _initialize, "ping": _ping}
