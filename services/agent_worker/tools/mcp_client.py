"""Requests to one MCP server of either protocol generation. The only module that imports the `mcp` package.

Importing it takes half a second: `mcp.py` does that in a thread, when an agent first needs it.
"""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2
import mcp.types as types
import orjson
from mcp.client.session import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from services.agent_worker.tools.mcp_transport import GuardedTransport
from services.agent_worker.tools.result import ToolFailure
from shared.web.guarded_client import GuardedClient, OutgoingFailure

MAX_PAGES: Final = 20
HEADER_MISMATCH: Final = -32020
_CLIENT: Final = types.Implementation(name="parley", version="1")
# The package logs what servers send, which can be an end user's data.
logging.getLogger("mcp").setLevel(logging.CRITICAL + 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """The address of a server and the headers of every request to it."""

    client: GuardedClient
    url: str
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    """The protocol generation of a server.

    `discovered` is the answer to `server/discover` (since 2026-07-28); None: the server needs the `initialize`
    handshake.
    """

    discovered: types.DiscoverResult | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerTool:
    name: str
    description: str
    parameters: dict[str, Any]


class ServerFault(ToolFailure):
    """The server did not answer as the protocol says. A result that it marks as an error is no fault."""


class _Session(ClientSession):
    async def validate_tool_result(self, name: str, result: types.CallToolResult) -> None:
        """Not checked, because a result is text for a model.

        The package would check it against the server's schema, whose regular expressions can take unbounded time.
        """


async def list_tools(server: Server) -> tuple[Generation, list[ServerTool]]:
    """The server's generation and its tools. Raises ToolFailure."""
    async with _connected(server, None) as session:
        tools = await _listed(session)
        return Generation(discovered=session.discover_result), tools


async def call_tool(server: Server, generation: Generation, name: str, arguments: dict[str, Any]) -> str:
    """The result's text. Raises ToolFailure, also for a result that the server marks as an error."""
    async with _connected(server, generation) as session:
        try:
            result = await session.call_tool(name, arguments, allow_input_required=True)
        except MCPError as error:
            if error.code != HEADER_MISMATCH:
                raise
            # The server wants arguments repeated in headers, which the session learns from the list of tools.
            await _listed(session)
            result = await session.call_tool(name, arguments, allow_input_required=True)
    if not isinstance(result, types.CallToolResult):
        raise ToolFailure("The tool asks for input that this agent cannot give.")
    text = _text_of(result)
    if result.is_error:
        raise ToolFailure(text or "The tool failed.")
    return text


@asynccontextmanager
async def _connected(server: Server, generation: Generation | None) -> AsyncIterator[ClientSession]:
    """Each request opens its own connection. Raises ToolFailure."""
    try:
        http = httpx2.AsyncClient(transport=GuardedTransport(server.client), headers=dict(server.headers), timeout=None)
        async with (
            http,
            streamable_http_client(server.url, http_client=http) as (read, write),
            _Session(read, write, client_info=_CLIENT) as session,
        ):
            await _negotiate(session, generation)
            yield session
    except Exception as error:
        raise _failure_of(error) from None


async def _negotiate(session: ClientSession, generation: Generation | None) -> None:
    if generation is None:
        try:
            await session.discover()
        except (MCPError, ValidationError, RuntimeError):
            # A server of the earlier generation: it rejects the question or names only older versions.
            await session.initialize()
    elif generation.discovered is not None:
        session.adopt(generation.discovered)
    else:
        await session.initialize()


async def _listed(session: ClientSession) -> list[ServerTool]:
    tools, cursor = list[ServerTool](), None
    for _ in range(MAX_PAGES):
        page = await session.list_tools(params=types.PaginatedRequestParams(cursor=cursor))
        tools += [
            ServerTool(name=tool.name, description=tool.description or "", parameters=tool.input_schema)
            for tool in page.tools
        ]
        cursor = page.next_cursor
        if not cursor:
            break
    return tools


def _failure_of(error: BaseException) -> ToolFailure:
    """The text for the model. Task groups wrap exceptions into groups, so all causes are searched."""
    causes = list(_leaves(error))
    for cause in causes:
        if isinstance(cause, ToolFailure):
            return cause
        if isinstance(cause, OutgoingFailure):
            return ServerFault(f"The tool failed. {cause}")
    for cause in causes:
        if isinstance(cause, MCPError):
            return ServerFault(f"The tool's server refused the call: {str(cause)[:500]}")
    return ServerFault("The tool's server does not speak the Model Context Protocol.")


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


def _text_of(result: types.CallToolResult) -> str:
    parts = [_part(content) for content in result.content]
    text = "\n".join(part for part in parts if part)
    if not text and result.structured_content is not None:
        text = orjson.dumps(result.structured_content).decode()
    return text


def _part(content: Any) -> str:
    match content:
        case types.TextContent():
            return content.text
        case types.EmbeddedResource(resource=types.TextResourceContents() as resource):
            return resource.text
        case types.ResourceLink():
            return str(content.uri)
        case _:
            return f"[{getattr(content, 'mime_type', None) or 'content'}, which cannot be shown]"
